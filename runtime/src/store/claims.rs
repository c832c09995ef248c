//! Claims that are held against whatever keeps something, and the tables of the documentation that say which of them hold.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

/// The claims that a backend cannot make, and why.
pub(super) type Exceptions = &'static [(&'static str, &'static str)];

/// Each claim in the words of the table, and what holds it against a backend: a function of a `Place`. Those that a backend does not make
/// have a name.
macro_rules! claims {
    ($($(#[$name:ident])? $text:literal => |$place:ident| $check:block)*) => {
        $($(const $name: &str = $text;)?)*

        fn claims() -> Vec<(&'static str, for<'a> fn(Place<'a>) -> futures_util::future::LocalBoxFuture<'a, ()>)> {
            vec![$(($text, |$place| Box::pin(async move { $check }))),*]
        }
    };
}
pub(super) use claims;

/// Holds one claim after the other: each must hold, but for those that are excepted, which must not.
pub(super) async fn hold<'a>(
    name: &str,
    claims: impl IntoIterator<Item = (&'static str, LocalBoxFuture<'a, ()>)>,
    is_excepted: impl Fn(&str) -> bool,
) {
    let mut wrong = Vec::new();
    for (claim, check) in claims {
        let held = AssertUnwindSafe(check).catch_unwind().await;
        println!("{name}: {claim}: {}", if held.is_ok() { "holds" } else { "does not hold" });
        if held.is_err() != is_excepted(claim) {
            wrong.push(format!("{claim}: {:?}", held.map_err(|panic| panic.downcast_ref::<String>().cloned())));
        }
    }
    assert!(wrong.is_empty(), "{name}, of what it says: {wrong:#?}");
}

/// Whether a page of the documentation has the table of these claims and backends, between its two marks.
pub(super) fn documented(page: &str, claims: &[&str], backends: &[(&str, Exceptions)]) {
    let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let head = backends.iter().map(|(name, _)| (*name).to_owned());
    let mut rows = vec![format!("| {}", row(head.collect()))];
    rows.push(row(vec!["---".to_owned(); backends.len() + 1]));
    for claim in claims {
        let says = |exceptions: Exceptions| match exceptions.iter().find(|(excepted, _)| excepted == claim) {
            Some((_, why)) => format!("no: {why}"),
            None => "yes".to_owned(),
        };
        let cells = backends.iter().map(|(_, exceptions)| says(exceptions));
        rows.push(row(std::iter::once((*claim).to_owned()).chain(cells).collect()));
    }
    let table = rows.join("\n");
    println!("{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- claims -->\n").unwrap();
    let (found, after) = rest.split_once("\n<!-- /claims -->").unwrap();
    if std::env::var_os("EYOT_WRITE_DOCS").is_some() {
        std::fs::write(&file, format!("{before}<!-- claims -->\n{table}\n<!-- /claims -->{after}")).unwrap();
    } else {
        assert!(found == table, "{} is stale: EYOT_WRITE_DOCS=1", file.display());
    }
}
