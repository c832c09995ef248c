//! Takes images, and makes small ones of them when there is time.

use std::io::Cursor;

use eyot_sdk::prelude::*;
use image::{ImageFormat, ImageReader, Limits};

/// A thumbnail has no more pixels than this on either side.
const SIDE: u32 = 128;

/// What an image may take while it is read: a small file may say that it is very large.
const MEMORY: u64 = 64 << 20;

/// The image is kept, and its name goes into the queue: it may be larger than a message.
async fn upload(Path(name): Path<String>, image: eyot_sdk::axum::body::Bytes) -> Result<Response> {
    if image::guess_format(&image).is_err() {
        return Ok((StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is no PNG and no JPEG\n").into_response());
    }
    let kept = Namespace::open("images")?.put(&name, &image);
    if let Err(KvError::TooLarge(why)) = kept {
        return Ok((StatusCode::PAYLOAD_TOO_LARGE, format!("{why}\n")).into_response());
    }
    kept?;
    Queue::named("images").send(name.clone())?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/thumbnails/{name}"))], "it will be small\n")
        .into_response())
}

async fn show(Path(name): Path<String>) -> Result<Response> {
    let thumbnail = Namespace::open("thumbnails")?.get(&name)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, "image/png")], thumbnail).into_response())
}

async fn work_off(batch: Batch) -> Result<(), KvError> {
    batch.each(async |message| scale(&message.text()).map_err(|error| error.to_string())).await;
    Ok(())
}

fn scale(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    // It may have been deleted since.
    let Some(image) = Namespace::open("images")?.get(name)? else { return Ok(()) };
    let mut reader = ImageReader::new(Cursor::new(image)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let thumbnail = reader.decode()?.thumbnail(SIDE, SIDE);
    let mut written = Cursor::new(Vec::new());
    thumbnail.write_to(&mut written, ImageFormat::Png)?;
    Namespace::open("thumbnails")?.put(name, written.into_inner())?;
    info!("{name} is {} × {}", thumbnail.width(), thumbnail.height());
    Ok(())
}

serve!(Router::new().route("/images/{name}", put(upload)).route("/thumbnails/{name}", get(show)));
consume!(work_off);
