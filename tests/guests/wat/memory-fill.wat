;; Fills 64 MiB again and again. The engine looks at the clock between the instructions only, and each takes milliseconds.
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
        (memory.fill (i32.const 0) (i32.const 165) (i32.const 67108864))
        (br $again))))
  (core instance $instance (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
