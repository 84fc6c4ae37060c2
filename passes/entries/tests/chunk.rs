//! The length of chunks follows the target's numbers and the model's shapes.

use drupe_entries::{ChunkEstimate, choose_chunks, estimate_chunks};
use drupe_ir::{Module, parse};
use drupe_target::Target;

/// A layer of `width` rows and columns, and a state, for up to `most` tokens.
fn layer(width: u64, most: u64) -> Module {
    let text = format!(
        "const @w = random seed=1 : f32[{width}, {width}]
        dim seq in 1..={most}
        dim past in 0..={most}
        state \"cache\" -> \"cache.next\"
        func @layer(%x: f32[seq, {width}] \"x\", %cache: f32[past, {width}] \"cache\") {{
          %w = const @w : f32[{width}, {width}]
          %y = matmul(%x, %w) : f32[seq, {width}]
          %next = concat(%cache, %y) axis=0 : f32[past + seq, {width}]
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

fn chosen(width: u64, target: &Target) -> Vec<u64> {
    choose_chunks(&estimate_chunks(&layer(width, 4096), target).expect("estimates"))
}

#[test]
fn slow_memory_makes_chunks_long() {
    assert_eq!(
        chosen(2048, &target(|target| target.bandwidth_gb_s = 0.5)),
        [512, 128, 32],
        "weights cost most: read once"
    );
    let rates = |bandwidth: f64| {
        let target = target(|target| target.bandwidth_gb_s = bandwidth);
        let estimates = estimate_chunks(&layer(2048, 4096), &target).expect("estimates");
        (estimates[0].rate, estimates[4].rate)
    };
    let ((short, long), (short_fast, long_fast)) = (rates(0.5), rates(1e5));
    assert!(long > 10.0 * short && long_fast < 1.2 * short_fast, "weights that cost nothing may be read often");
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
            (target.cache.l2, target.cache.l3) = (1 << 18, 0);
        }),
    );
    assert_eq!((chosen(512, &roomy), chosen(512, &tight)), (vec![512, 128, 32], vec![256, 64, 16]));
}

#[test]
fn lengths_are_those_that_the_model_takes() {
    let lengths = |module: &Module| -> Vec<u64> {
        let estimates = estimate_chunks(module, &target(|_| ())).expect("estimates");
        estimates.iter().map(|estimate| estimate.tokens).collect()
    };
    assert_eq!(lengths(&layer(2048, 4096)), [32, 64, 128, 256, 512]);
    assert_eq!(lengths(&layer(2048, 100)), [32, 64]);
    assert_eq!(lengths(&layer(2048, 20)), [20]);
    let stateless = parse("func @none(%x: f32[4]) { return \"x\" %x }", "none.ir").expect("a module");
    assert!(lengths(&stateless).is_empty());
    assert_eq!(choose_chunks(&[]), [1]);
    let of = |tokens| choose_chunks(&[ChunkEstimate { tokens, rate: 1.0 }]);
    assert_eq!((of(128), of(20)), (vec![128, 32], vec![20]));
}
