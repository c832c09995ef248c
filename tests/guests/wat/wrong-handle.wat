;; Exports a handler whose `handle` takes nothing.
(component
  (core module $code
    (func (export "handle")))
  (core instance $instance (instantiate $code))
  (func $handle
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
