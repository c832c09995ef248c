//! What toolchains make of `wasi:keyvalue`: each step of a little story with one of its drafts, and what came of it. `/draft/NAMESPACE`
//! and `/draft2/NAMESPACE` tell the same story.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

mod draft {
    wit_bindgen::generate!({
        path: "../../../runtime/wit/deps/keyvalue-draft",
        inline: "package test:draft; world guest {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
        }",
        world: "test:draft/guest",
        generate_all,
    });
}

mod draft2 {
    wit_bindgen::generate!({
        path: "../../../runtime/wit/deps/keyvalue-draft2",
        inline: "package test:draft2; world guest {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }",
        world: "test:draft2/guest",
        generate_all,
    });
}

wasip2::http::proxy::export!(Guest);

struct Guest;

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let (draft, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let told = match draft {
            "draft" => first(namespace).map_err(|error| format!("{error:?}")),
            "draft2" => second(namespace).map_err(|error| format!("{error:?}")),
            _ => Err("which draft?".to_owned()),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the only body");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("the only stream");
        stream.blocking_write_and_flush(told.unwrap_or_else(|error| error).as_bytes()).expect("the client reads");
        drop(stream);
        OutgoingBody::finish(body, None).expect("it is whole");
    }
}

fn first(namespace: &str) -> Result<String, draft::wasi::keyvalue::store::Error> {
    use draft::wasi::keyvalue::{atomics, batch, store};
    let bucket = store::open(namespace)?;
    bucket.set("a", b"1")?;
    batch::set_many(&bucket, &[("b".to_owned(), b"2".to_vec()), ("c".to_owned(), b"3".to_vec())])?;
    bucket.delete("b")?;
    let mut story = format!("a {:?}, b {}, ", bucket.get("a")?, bucket.exists("b")?);
    story += &format!("many {:?}, ", batch::get_many(&bucket, &["a".to_owned(), "b".to_owned()])?);
    story += &format!("count {}, ", atomics::increment(&bucket, "a", 41)?);
    let page = bucket.list_keys(None)?;
    story += &format!("keys {:?} {:?}, ", page.keys, page.cursor);
    batch::delete_many(&bucket, &["a".to_owned(), "c".to_owned()])?;
    Ok(story + &format!("left {:?}", bucket.list_keys(None)?.keys))
}

fn second(namespace: &str) -> Result<String, draft2::wasi::keyvalue::store::Error> {
    use draft2::wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
    use draft2::wasi::keyvalue::{batch, store};
    let bucket = store::open(namespace)?;
    bucket.set("a", b"1")?;
    batch::set_many(&bucket, &[("b".to_owned(), b"2".to_vec()), ("c".to_owned(), b"3".to_vec())])?;
    bucket.delete("b")?;
    let mut story = format!("a {:?}, b {}, ", bucket.get("a")?, bucket.exists("b")?);
    story += &format!("many {:?}, ", batch::get_many(&bucket, &["a".to_owned(), "b".to_owned()])?);
    story += &format!("count {}, ", increment(&bucket, "a", -43)?);
    let cas = Cas::new(&bucket, "a")?;
    bucket.set("a", b"faster")?;
    story += &match swap(cas, b"too late") {
        Ok(()) => "lost an update, ".to_owned(),
        Err(CasError::StoreError(error)) => return Err(error),
        Err(CasError::CasFailed(cas)) => {
            let now = cas.current()?;
            format!("met {now:?}, then {}, ", swap(cas, b"in time").is_ok())
        }
    };
    let page = bucket.list_keys(None)?;
    story += &format!("keys {:?} {:?}, a {:?}, ", page.keys, page.cursor, bucket.get("a")?);
    batch::delete_many(&bucket, &["a".to_owned(), "c".to_owned()])?;
    Ok(story + &format!("left {:?}", bucket.list_keys(None)?.keys))
}
