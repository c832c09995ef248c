;; Copies 32 MiB back and forth inside a memory of 64 MiB: as memory-fill, and slower.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $code
    (memory 1024)
    (func (export "handle") (param i32 i32)
      (loop $again
        (memory.copy (i32.const 33554432) (i32.const 0) (i32.const 33554432))
        (memory.copy (i32.const 0) (i32.const 33554432) (i32.const 33554432))
        (br $again))))
  (core instance $instance (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
