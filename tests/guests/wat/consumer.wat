;; Only works off queues: does nothing with its messages, and returns well.
(component
  (import "eyot:worker/queue@0.1.0" (instance $queue
    (export "message" (type (sub resource)))))
  (alias export $queue "message" (type $message))
  (core module $code
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    ;; Zeros stand there: the first case of the result.
    (func (export "handle") (param i32 i32 i32 i32) (result i32)
      (i32.const 16)))
  (core instance $instance (instantiate $code))
  (func $handle
    (param "queue" string) (param "messages" (list (own $message))) (result (result (error string)))
    (canon lift (core func $instance "handle")
      (memory (core memory $instance "memory")) (realloc (core func $instance "realloc"))))
  (instance $handler (export "handle" (func $handle)))
  (export "eyot:worker/queue-handler@0.1.0" (instance $handler)))
