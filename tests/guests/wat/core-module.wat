;; A core module where a component is expected: what `wasm32-wasip1` toolchains make.
(module
  (func (export "_start")))
