# workerd with one worker, whose isolate stays warm. The command line names the constant, and the address of `http`.
using Workerd = import "/workerd/workerd.capnp";

const hello :Workerd.Config = (
  services = [(name = "worker", worker = (
    modules = [(name = "workerd-hello.mjs", esModule = embed "workerd-hello.mjs")],
    compatibilityDate = "2026-01-01",
  ))],
  sockets = [(name = "http", http = (), service = "worker")],
);

const jwt :Workerd.Config = (
  services = [(name = "worker", worker = (
    modules = [
      (name = "workerd-jwt.mjs", esModule = embed "workerd-jwt.mjs"),
      (name = "greeting.mjs", esModule = embed "greeting.mjs"),
    ],
    compatibilityDate = "2026-01-01",
  ))],
  sockets = [(name = "http", http = (), service = "worker")],
);
