//! The admin API: what is deployed, and how that is changed (HTTP and JSON, all below `/v1`).
//!
//! One file for each noun; `shapes.rs` has what goes over the wire, for the command line, too. Each path stands once, with its handler
//! and its description, so that `/openapi.json` says what is so. Where nothing is deployed (`eyot dev`), there are the tail and what workers keep.

mod audit;
mod backups;
mod caller;
mod deployments;
mod extract;
mod kv;
mod nodes;
mod problem;
mod queue;
mod schedule;
mod secrets;
pub mod shapes;
mod status;
mod tail;
mod tokens;
mod versions;
mod workers;

pub use problem::Problem;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use hyper::Request;
use tower_service::Service as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::caller::Access;
use self::tail::Watching;
use super::Ready;
use crate::acme::Orders;
use crate::activate::{Deployments, Stock};
use crate::http::Body;
use crate::observe::Tails;

/// What all handlers share that need a store.
#[derive(Clone)]
pub(super) struct Shared {
    deployments: Arc<Deployments>,
    /// Of certificates.
    orders: Option<Arc<Orders>>,
    ready: Ready,
    began: Instant,
}

impl FromRef<Shared> for Access {
    fn from_ref(shared: &Shared) -> Self {
        Self::Tokens(Arc::clone(&shared.deployments))
    }
}

/// What handlers share that look after what workers keep.
#[derive(Clone)]
pub(super) struct Kept {
    stock: Arc<Stock>,
    access: Access,
}

impl FromRef<Kept> for Access {
    fn from_ref(kept: &Kept) -> Self {
        kept.access.clone()
    }
}

/// The API as one handler.
#[derive(Clone)]
pub struct Api(Router);

/// What an eyot.toml and the fields around it may add to the size of a component, in bytes.
const BESIDE_COMPONENT: u64 = 5 << 20;

/// Where no component is sent, a request has no more bytes than this: values and messages, as base64 within JSON.
const MOST_IN_DEV: usize = 64 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Eyot's admin API",
        description = "What is deployed on a node, and how that is changed. Errors are problem documents (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Bearer),
    security(("token" = [])),
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of `eyot token create`."));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    }
}

impl Api {
    /// Answers for these deployments, and whoever has a token that they know.
    pub fn new(
        deployments: Arc<Deployments>,
        stock: Arc<Stock>,
        orders: Option<Arc<Orders>>,
        tails: Tails,
        ready: Ready,
    ) -> Self {
        let most = deployments.node().limits.node_limits().component_size.saturating_add(BESIDE_COMPONENT);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let access = Access::Tokens(Arc::clone(&deployments));
        let shared = Shared { deployments, orders, ready, began: Instant::now() };
        let router = paths().with_state(shared).merge(everywhere(stock, tails, access));
        Self::of(router, most, get(problem::no_such_path))
    }

    /// Answers whoever asks, where nothing is deployed.
    pub fn open(stock: Arc<Stock>, tails: Tails) -> Self {
        let router = everywhere(stock, tails, Access::Open);
        Self::of(router, MOST_IN_DEV, get(problem::no_store).fallback(problem::no_store))
    }

    fn of(router: OpenApiRouter, most: usize, otherwise: MethodRouter) -> Self {
        let (router, description) = router.split_for_parts();
        let router = router
            .route("/openapi.json", get(move || async move { Json(description) }))
            .fallback_service(otherwise)
            .method_not_allowed_fallback(problem::no_such_method)
            .layer(DefaultBodyLimit::max(most));
        Self(router)
    }

    /// Answers a request.
    pub async fn handle<B>(&self, request: Request<B>) -> hyper::Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let mut router = self.0.clone();
        match router.call(request.map(axum::body::Body::new)).await {
            Ok(response) => response.map(Body::boxed),
            Err(never) => match never {},
        }
    }
}

/// The OpenAPI document as text, as it is published.
#[must_use]
pub fn described() -> String {
    let mut description = paths().into_openapi();
    description.merge(kept_paths().into_openapi());
    description.merge(tail::paths().into_openapi());
    // It was made of what can be written as JSON.
    serde_json::to_string_pretty(&description).unwrap_or_default() + "\n"
}

/// What there is with deployments and without.
fn everywhere(stock: Arc<Stock>, tails: Tails, access: Access) -> OpenApiRouter {
    let kept = Kept { stock, access: access.clone() };
    kept_paths().with_state(kept).merge(tail::paths().with_state(Watching { tails, access }))
}

fn kept_paths() -> OpenApiRouter<Kept> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(kv::namespaces))
        .routes(routes!(kv::list, kv::put))
        .routes(routes!(kv::show, kv::delete))
        .routes(routes!(queue::list))
        .routes(routes!(queue::pause))
        .routes(routes!(queue::peek, queue::send, queue::purge))
        .routes(routes!(queue::redrive))
        .routes(routes!(schedule::list))
        .routes(routes!(schedule::history, schedule::ask))
}

fn paths() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(status::show))
        .routes(routes!(nodes::list))
        .routes(routes!(workers::list))
        .routes(routes!(workers::show, workers::remove))
        .routes(routes!(versions::list, versions::add))
        .routes(routes!(versions::show))
        .routes(routes!(deployments::list, deployments::add))
        .routes(routes!(deployments::roll_back))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(backups::make))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_description_is_what_the_api_is() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/admin.openapi.json");
        let described = described();
        if std::env::var_os("EYOT_WRITE_DOCS").is_some() {
            std::fs::write(&file, &described).unwrap();
        }
        let published = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(published == described, "write it anew: EYOT_WRITE_DOCS=1 cargo test --lib admin::api");
    }

    #[test]
    fn every_path_has_a_name_of_its_own_and_says_how_it_refuses() {
        let described: serde_json::Value = serde_json::from_str(&described()).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for (path, operations) in described["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
                assert!(!name.is_empty() && names.insert(name), "{method} {path}");
                for status in ["400", "401", "403", "503"] {
                    assert!(operation["responses"].get(status).is_some(), "{method} {path}: {status}");
                }
            }
        }
        assert!(names.len() > 15);
    }
}
