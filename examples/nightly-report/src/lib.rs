//! Takes orders by day, and adds them up by night.

use eyot_sdk::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    cents: u64,
}

#[derive(Default, Deserialize, Serialize)]
struct Report {
    orders: u64,
    cents: u64,
}

/// An order is kept under a number of its own.
async fn order(Json(order): Json<Order>) -> Result<StatusCode> {
    let orders = Namespace::open("orders")?;
    let number = orders.increment("last", 1)?;
    let written = serde_json::to_vec(&order).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    orders.put(&format!("order:{number:012}"), written)?;
    Ok(StatusCode::CREATED)
}

async fn report() -> Result<Json<Report>> {
    let report = Namespace::open("reports")?.get("latest")?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(serde_json::from_slice(&report).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?))
}

/// Adds all orders up, a page at a time.
async fn on_schedule(due: Due) -> Result<(), KvError> {
    let orders = Namespace::open("orders")?;
    let (mut report, mut cursor) = (Report::default(), None);
    loop {
        let page = orders.list("order:", cursor.as_deref(), 100)?;
        let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
        for entry in orders.get_many(&keys)?.into_iter().flatten() {
            if let Ok(order) = serde_json::from_slice::<Order>(&entry.value) {
                report.orders += 1;
                report.cents += order.cents;
            }
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    info!("{}: {} orders, {} cents", due.schedule, report.orders, report.cents);
    let written = serde_json::to_vec(&report).unwrap_or_default();
    Namespace::open("reports")?.put("latest", written).map(drop)
}

serve!(Router::new().route("/orders", post(order)).route("/report", get(report)));
schedule!(on_schedule);
