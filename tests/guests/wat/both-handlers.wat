;; Exports a handler of WASI 0.2 that answers nothing, and under the name of WASI 0.3 something else.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $code
    (func (export "handle") (param i32 i32))
    (func (export "other")))
  (core instance $instance (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (func $other
    (canon lift (core func $instance "other")))
  (instance $handler (export "handle" (func $handle)))
  (instance $newer (export "handle" (func $other)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler))
  (export "wasi:http/handler@0.3.0" (instance $newer)))
