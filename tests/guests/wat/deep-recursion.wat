;; Calls itself without end: the stack is exhausted, which must be a trap of this isolate alone.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $code
    (func $down (param i64) (result i64)
      ;; The addition after the call keeps it from being a tail call.
      (i64.add (i64.const 1) (call $down (i64.add (local.get 0) (i64.const 1)))))
    (func (export "handle") (param i32 i32)
      (drop (call $down (i64.const 0)))))
  (core instance $instance (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
