//! What a shop sells.

use eyot_sdk::prelude::*;
use serde::Serialize;

#[derive(Serialize)]
struct Product {
    sku: &'static str,
    name: &'static str,
}

const PRODUCTS: [Product; 3] = [
    Product { sku: "tea", name: "Tea" },
    Product { sku: "kettle", name: "Kettle" },
    Product { sku: "cup", name: "Cup" },
];

async fn products() -> Json<[Product; 3]> {
    Json(PRODUCTS)
}

serve!(Router::new().route("/products", get(products)));
