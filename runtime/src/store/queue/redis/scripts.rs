//! The scripts: each is run by the server as a whole, while nobody else does anything.
//!
//! They say of themselves whether they write, so the server refuses one before it has begun that could not be brought to its end: on a
//! replica, or with its disk or its memory full. All but `send` may run when memory is full, since they are what makes room.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident: $file:literal, $flags:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let all = concat!("#!lua", $flags, "\n", include_str!("scripts/keys.lua"), include_str!(concat!("scripts/", $file)));
            Script::new(all)
        });)*
    };
}

scripts! {
    MAY: "may.lua", " flags=no-writes";
    SEND: "send.lua", "";
    RECEIVE: "receive.lua", " flags=allow-oom";
    DUE: "due.lua", " flags=no-writes";
    SETTLE: "settle.lua", " flags=allow-oom";
    EXTEND: "extend.lua", " flags=allow-oom";
    PEEK: "peek.lua", " flags=no-writes";
    STANDING: "standing.lua", " flags=no-writes";
    REDRIVE: "redrive.lua", " flags=allow-oom";
    PURGE: "purge.lua", " flags=allow-oom";
    PAUSE: "pause.lua", " flags=allow-oom";
    BURY: "bury.lua", " flags=allow-oom";
    FORGET: "forget.lua", " flags=allow-oom";
}
