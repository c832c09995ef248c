//! Examples of workers that call each other: what is seen of one that fails now and then. `--nocapture` prints it.

use super::Dev;

#[test]
fn a_page_of_three_workers_is_there_although_one_of_them_fails_now_and_then() {
    let dev = Dev::start();
    let failed = |worker: &str, path: &str| dev.ask("GET", worker, path).send().expect("an answer").status() == 503;
    let alone = (0..100).filter(|_| failed("prices", "/tea")).count();
    let pages: Vec<_> = (0..100)
        .map(|_| {
            let page = dev.ask("GET", "storefront", "/").send().expect("an answer");
            assert_eq!(page.status(), 200);
            page.text().expect("a text")
        })
        .collect();
    let lines: Vec<_> = pages.iter().flat_map(|page| page.lines()).collect();
    let without = lines.iter().filter(|line| line.ends_with("on request")).count();
    println!("prices fails {alone} times of 100; of {} lines of 100 pages, {without} have no price", lines.len());
    assert_eq!(lines.len(), 300);
    assert!((10..60).contains(&alone), "{alone}");
    assert!(without <= 15, "three further calls make three failures of ten one of a hundred, not {without} of 300");
    assert!(lines.contains(&"Tea        4.50") && lines.contains(&"Kettle     39.00"), "{}", pages[0]);
}
