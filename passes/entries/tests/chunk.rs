//! The length of chunks follows the target's numbers and the model's shapes.

use drupe_entries::{estimate_chunks, fastest_chunk};
use drupe_ir::{Module, parse};
use drupe_target::Target;

/// A layer of 16 MB and a state, for up to `most` tokens.
fn layer(most: u64) -> Module {
    let text = format!(
        "const @w = random seed=1 : f32[2048, 2048]
        dim seq in 1..={most}
        dim past in 0..={most}
        state \"cache\" -> \"cache.next\"
        func @layer(%x: f32[seq, 2048] \"x\", %cache: f32[past, 2048] \"cache\") {{
          %w = const @w : f32[2048, 2048]
          %y = matmul(%x, %w) : f32[seq, 2048]
          %next = concat(%cache, %y) axis=0 : f32[past + seq, 2048]
          return \"cache.next\" %next
        }}"
    );
    parse(&text, "layer.ir").expect("a module")
}

fn target(change: impl Fn(&mut Target)) -> Target {
    let mut target = Target::find("x86-64").expect("a built-in target");
    change(&mut target);
    target
}

fn chosen(target: &Target) -> u64 {
    fastest_chunk(&estimate_chunks(&layer(4096), target).expect("estimates"))
}

#[test]
fn slow_memory_makes_chunks_long_and_fast_memory_short() {
    assert_eq!(chosen(&target(|target| target.bandwidth_gb_s = 0.5)), 512, "weights cost most: they are read once");
    assert_eq!(chosen(&target(|target| target.bandwidth_gb_s = 1e5)), 32, "weights cost nothing: waste least");
}

#[test]
fn what_leaves_the_caches_makes_chunks_shorter() {
    let slow = |target: &mut Target| target.bandwidth_gb_s = 3.5;
    let (roomy, tight) = (
        target(|target| {
            slow(target);
            target.cache.l2 = 1 << 30;
        }),
        target(|target| {
            slow(target);
            // The four cores' hold what a chunk of 256 reads and writes.
            (target.cache.l2, target.cache.l3) = (1 << 20, 0);
        }),
    );
    assert_eq!((chosen(&roomy), chosen(&tight)), (512, 256));
}

#[test]
fn lengths_are_those_that_the_model_takes() {
    let lengths = |module: &Module| -> Vec<u64> {
        let estimates = estimate_chunks(module, &target(|_| ())).expect("estimates");
        estimates.iter().map(|estimate| estimate.tokens).collect()
    };
    assert_eq!(lengths(&layer(4096)), [32, 64, 128, 256, 512]);
    assert_eq!(lengths(&layer(100)), [32, 64]);
    assert_eq!(lengths(&layer(20)), [20]);
    let stateless = parse("func @none(%x: f32[4]) { return \"x\" %x }", "none.ir").expect("a module");
    assert!(lengths(&stateless).is_empty());
    assert_eq!(fastest_chunk(&[]), 1);
}
