//! A shop window made by three workers: this one asks another what there is, and a third, at once for each thing, what it costs. The third fails
//! now and then, and the window is there all the same.

use eyot_sdk::axum::body::to_bytes;
use eyot_sdk::prelude::*;
use eyot_sdk::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Product {
    sku: String,
    name: String,
}

#[derive(Deserialize)]
struct Price {
    cents: u32,
}

/// No answer that is asked for is larger, in bytes.
const LARGEST: usize = 64 << 10;

/// So many prices are asked for at once.
const AT_ONCE: usize = 8;

async fn window() -> Result<String> {
    let products: Vec<Product> = ask("catalog", "/products").await?.ok_or(StatusCode::BAD_GATEWAY)?;
    let lines = stream::iter(products).map(line).buffered(AT_ONCE);
    Ok(lines.collect::<Vec<_>>().await.concat())
}

/// A thing whose price nobody knows just now is for sale, too.
async fn line(Product { sku, name }: Product) -> String {
    let price = ask::<Price>("prices", &format!("/{sku}")).await;
    match price.ok().flatten() {
        Some(Price { cents }) => format!("{name:<10} {}.{:02}\n", cents / 100, cents % 100),
        None => format!("{name:<10} on request\n"),
    }
}

/// What a worker answers, if it answers well.
async fn ask<T: DeserializeOwned>(worker: &str, path: &str) -> Result<Option<T>> {
    let request = Request::get(path).body(Body::empty()).map_err(FetchError::from)?;
    let response = Service::named(worker).fetch(request).await?;
    if !response.status().is_success() {
        warn!("{worker} answered {}", response.status());
        return Ok(None);
    }
    let bytes = to_bytes(response.into_body(), LARGEST).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let Json(answer) = Json::from_bytes(&bytes).map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Some(answer))
}

serve!(window);
