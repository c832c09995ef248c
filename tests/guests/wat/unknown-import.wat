;; A handler that needs an interface which no host of wasi:http has.
(component
  (import "example:warehouse/shelves@1.0.0" (instance $shelves
    (export "count" (func (result u32)))))
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core func $count (canon lower (func $shelves "count")))
  (core module $code
    (import "shelves" "count" (func $count (result i32)))
    (func (export "handle") (param i32 i32)
      (drop (call $count))))
  (core instance $instance (instantiate $code (with "shelves" (instance (export "count" (func $count))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
