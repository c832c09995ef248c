//! Parts of requests as handlers take them: what is wrong with one is a problem like any other.

use axum::extract::{FromRequest, FromRequestParts};

use super::problem::Problem;

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Json<T>(pub(super) T);

/// The parameters of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(super) struct Path<T>(pub(super) T);

/// The query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Query<T>(pub(super) T);

/// A form with files.
#[derive(FromRequest)]
#[from_request(via(axum::extract::Multipart), rejection(Problem))]
pub(super) struct Multipart(pub(super) axum::extract::Multipart);
