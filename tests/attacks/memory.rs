//! Guests that take memory, or declare more than there is.

use crate::harness::{Node, fixtures, until};
use crate::{Arena, module, refusal, text};

/// How much larger than before the node may be after an attack: allocators keep some of what they had.
const KEPT: u64 = 64 << 20;

#[test]
fn g05_memory_without_end_is_denied_at_the_limit_and_given_back() {
    let arena = text("memory-bomb", "memory = \"128MiB\"\ncpu_time = \"10s\"");
    arena.neighbour_is_served();
    let before = arena.node.resident();
    arena.fails("/", 500, "worker_memory_exceeded");
    arena.node.wait_until_idle();
    let after = arena.node.resident();
    assert!(after < before + KEPT, "{} MiB before, {} MiB after", before >> 20, after >> 20);
}

#[test]
fn g05_a_declared_memory_counts_like_one_that_was_grown() {
    text("huge-memory", "").fails("/", 500, "worker_memory_exceeded");
}

#[test]
fn g05_however_many_workers_take_all_the_memory_that_they_can_get_one_that_has_little_gets_more() {
    let greedy: Vec<String> = (0..8).map(|number| format!("greedy{number}")).collect();
    let names = || greedy.iter().map(String::as_str).chain(["modest"]);
    let files: Vec<_> = names()
        .map(|name| {
            let route = format!("[[route]]\nhost = \"{name}.test\"\npath = \"/*\"");
            (format!("{name}/eyot.toml"), fixtures::worker(name, &fixtures::fixture(), &route))
        })
        .collect();
    let workers: String = names().map(|name| format!("[[worker]]\npath = \"{name}\"\n")).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let node = Node::start(&format!("[limits]\nnode_memory = \"64MiB\"\n{workers}"), &files);
    let failures = || node.metric("eyot_failures_total", "code=\"overloaded\"");
    // Not how many are in use: the first ones may end meanwhile.
    let started = || node.metric("eyot_isolates_started_total", "");
    std::thread::scope(|scope| {
        // By halves, until the smallest is refused: each then has all that it can get.
        for (host, mib) in
            greedy.iter().flat_map(|name| [32, 16, 8, 4, 2, 1, 0, 0].map(|mib| (format!("{name}.test"), mib)))
        {
            let (refused, begun) = (failures(), started());
            let node = &node;
            scope.spawn(move || node.get_from(&host, &format!("/grow?mib={mib}&sleep=16000")));
            until("it has its memory or is refused", || failures() > refused || started() > begun);
        }
        assert!(failures() >= 8.0, "all of them were refused");
        let in_use = || node.metric("eyot_isolates_in_use", "");
        let greedy = in_use();
        for _ in 0..10 {
            let answer = node.get_from("modest.test", "/count");
            assert_eq!((answer.status, answer.code()), (200, ""), "{}", answer.body);
            // In a build without optimization it takes so long that it is cleared by the sweeper, after its answer.
            until("its isolate is gone", || in_use() <= greedy);
        }
        assert!(in_use() >= 8.0, "they all have some still");
    });
}

#[test]
fn g06_many_memories_are_one_sum() {
    text("many-memories", "").fails("/", 500, "worker_memory_exceeded");
    text("many-memories", "memory = \"144MiB\"").fails("/", 500, "worker_no_response");
}

#[test]
fn g06_cve_2026_44216_a_memory_of_64_bits_is_refused_before_it_is_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    for pages in ["1", "0x1_0000_0000"] {
        let code = format!("(memory i64 {pages}) (func (export \"handle\") (param i32 i32))");
        let errors = refusal(&fixtures::handler(&code, folder.path()));
        assert!(errors.contains("not valid"), "{errors}");
    }
}

#[test]
fn g07_a_table_that_grows_without_end_is_denied_and_one_that_is_declared_too_large_is_refused() {
    // The pool holds no table of that size: it is denied whatever the limit, and the guest's `unreachable` is its own.
    text("table-grow", "").fails("/", 500, "worker_trapped");
    let folder = tempfile::tempdir().expect("a folder");
    let errors = refusal(&fixtures::text("huge-table", folder.path()));
    assert!(errors.contains("table"), "{errors}");
}

#[test]
fn proposals_that_no_toolchain_needs_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (proposal, code) in [
        ("threads", "(memory 1 1 shared)"),
        ("multi-memory", "(memory 1) (memory 1)"),
        ("exceptions", "(tag $tag)"),
        ("gc", "(type (struct (field i32)))"),
        ("function-references", "(type $type (func)) (func (param (ref $type)))"),
        ("custom-page-sizes", "(memory 1 (pagesize 1))"),
    ] {
        let code = format!("{code} (func (export \"handle\") (param i32 i32))");
        let errors = refusal(&fixtures::handler(&code, folder.path()));
        assert!(errors.contains("not valid"), "{proposal}: {errors}");
    }
}

#[test]
fn an_import_that_no_worker_has_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = refusal(&fixtures::text("unknown-import", folder.path()));
    assert!(errors.contains("example:warehouse/shelves@1.0.0"), "{errors}");
}

#[test]
fn g18_ghsa_q554_3cjc_rx7p_handles_without_end_are_ended_at_their_limit() {
    let arena = Arena::fixture("cpu_time = \"10s\"\nhandles = 10000\nresource_table = 100000");
    arena.fails("/handles?n=1000000", 500, "worker_handles_exceeded");
    arena.fails("/handles?n=1000000&kind=pollables", 500, "worker_handles_exceeded");
    let arena = Arena::fixture("cpu_time = \"10s\"\nhandles = 100000\nresource_table = 10000");
    arena.fails("/handles?n=1000000", 500, "worker_resources_exceeded");
    arena.fails("/handles?n=1000000&kind=pollables", 500, "worker_resources_exceeded");
}

#[test]
fn g17_cve_2026_27204_ghsa_852m_cvvp_9p4w_no_single_host_call_allocates_what_it_is_asked_for() {
    let arena = Arena::fixture("memory = \"128MiB\"\ncpu_time = \"5s\"");
    arena.neighbour_is_served();
    let before = arena.node.resident();
    for bytes in ["4294967296", "18446744073709551615"] {
        arena.fails(&format!("/random?bytes={bytes}"), 500, "worker_random_exceeded");
    }
    arena.fails("/hostcall?bytes=60000000&via=stdout", 500, "worker_hostcall_exceeded");
    arena.fails("/hostcall?bytes=60000000&via=fields", 500, "worker_hostcall_exceeded");
    arena.node.wait_until_idle();
    assert!(arena.node.resident() < before + KEPT, "{} MiB", arena.node.resident() >> 20);
}

#[test]
fn what_deep_recursion_has_touched_is_given_back() {
    const GUESTS: usize = 100;
    let arena = Arena::fixture("memory = \"128MiB\"");
    let rounds = |depth: u64| {
        std::thread::scope(|scope| {
            for _ in 0..GUESTS {
                scope.spawn(|| assert_eq!(arena.ask(&format!("/sleep?ms=2000&depth={depth}")).status, 200));
            }
            until("all sleep", || arena.node.metric("eyot_isolates_in_use", "") == GUESTS as f64);
            arena.node.resident()
        })
    };
    let shallow = rounds(0);
    arena.node.wait_until_idle();
    let before = arena.node.resident();
    let deep = rounds(5000);
    assert!(
        deep > shallow + ((GUESTS as u64 * 100) << 10),
        "{} MiB, {} MiB of them for the stacks",
        deep >> 20,
        deep.saturating_sub(shallow) >> 20
    );
    arena.node.wait_until_idle();
    let after = arena.node.resident();
    assert!(after < before + (8 << 20), "{} MiB before, {} MiB after", before >> 20, after >> 20);
}

#[test]
fn a_string_that_does_not_lie_in_memory_is_a_trap() {
    // A pointer near the end of the address space, to a host call that takes a list.
    let code = "(memory 1) (func (export \"handle\") (param i32 i32) (drop (i32.load (i32.const 0xfffffff0))))";
    module(code, "").fails("/", 500, "worker_trapped");
}
