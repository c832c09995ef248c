//! What things cost; now and then it does not know.

use eyot_sdk::prelude::*;
use eyot_sdk::rand::get_random_bytes;
use serde::Serialize;

#[derive(Serialize)]
struct Price {
    cents: u32,
}

async fn price(Path(sku): Path<String>) -> Result<Json<Price>> {
    let failing = Config::get::<u8>("failing")?.unwrap_or_default();
    if percent() < failing {
        return Err(StatusCode::SERVICE_UNAVAILABLE.into());
    }
    let cents = match &*sku {
        "tea" => 450,
        "kettle" => 3900,
        "cup" => 800,
        _ => return Err(StatusCode::NOT_FOUND.into()),
    };
    Ok(Json(Price { cents }))
}

/// A number below a hundred, by chance.
fn percent() -> u8 {
    let mut byte = [0];
    // Each number is as likely as any other: of 256 the last 56 are taken again.
    loop {
        get_random_bytes(&mut byte);
        if byte[0] < 200 {
            return byte[0] % 100;
        }
    }
}

serve!(Router::new().route("/{sku}", get(price)));
