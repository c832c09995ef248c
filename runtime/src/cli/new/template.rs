//! The examples, as they were when this program was built.

use include_dir::{Dir, include_dir};

/// An example as the beginning of something else.
pub(super) struct Template {
    /// That of its folder.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) what: &'static str,
    /// Its files.
    pub(super) files: Dir<'static>,
}

/// The first one is taken where none is asked for.
pub(super) static TEMPLATES: [Template; 14] = [
    Template {
        name: "hello",
        what: "the smallest worker: five lines",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/hello"),
    },
    Template {
        name: "auth-gate",
        what: "tokens checked before a worker starts; the verified claims in the handler",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/auth-gate"),
    },
    Template {
        name: "localize",
        what: "language by cookie and Accept-Language, with Fluent catalogues",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/localize"),
    },
    Template {
        name: "router",
        what: "filters by method, header, path and address; traffic split between two origins",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/router"),
    },
    Template {
        name: "preferences",
        what: "theme, currency and language in a cookie",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/preferences"),
    },
    Template {
        name: "origin-proxy",
        what: "headers, rewritten paths, bodies streamed both ways",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/origin-proxy"),
    },
    Template {
        name: "invite",
        what: "a letter that the answer does not wait for",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/invite"),
    },
    Template {
        name: "mailer",
        what: "letters from a queue to a mail service, tried again",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/mailer"),
    },
    Template {
        name: "delete-account",
        what: "long work in a queue of its own, its progress among keys and values",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/delete-account"),
    },
    Template {
        name: "thumbnails",
        what: "images scaled inside the guest, when there is time",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/thumbnails"),
    },
    Template {
        name: "nightly-report",
        what: "what is added up by a schedule",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/nightly-report"),
    },
    Template {
        name: "storefront",
        what: "a page made by calls of the workers catalog and prices",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/storefront"),
    },
    Template {
        name: "catalog",
        what: "what another worker calls for",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/catalog"),
    },
    Template {
        name: "prices",
        what: "a worker that fails now and then, for others to call",
        files: include_dir!("$CARGO_MANIFEST_DIR/../examples/prices"),
    },
];

/// The SDK that the examples stand on.
pub(super) static GUEST_SDK: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk");

/// What the examples share: versions of their dependencies, and how they are optimized.
pub(super) const WORKSPACE: &str = include_str!("../../../../examples/Cargo.toml");

/// Versions that were built and tested together.
pub(super) const LOCK: &str = include_str!("../../../../examples/Cargo.lock");
