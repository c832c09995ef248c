;; Grows a table by a million elements until that is denied, then traps. A table is memory of the isolate too.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $code
    (table $table 1 funcref)
    (func (export "handle") (param i32 i32)
      (loop $again
        (br_if $again
          (i32.ne (table.grow $table (ref.null func) (i32.const 1000000)) (i32.const -1))))
      (unreachable)))
  (core instance $instance (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
