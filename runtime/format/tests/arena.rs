//! The memory planner's promises on random lifetimes.

use drupe_format::{ARENA_ALIGNMENT, Lifetime, plan_arena};
use proptest::prelude::*;

fn lifetimes(count: usize) -> impl Strategy<Value = Vec<Lifetime>> {
    let one = (0..200_000_u64, 0..100_u32, 0..12_u32).prop_map(|(size, first, length)| Lifetime {
        size,
        first,
        last: first + length,
    });
    proptest::collection::vec(one, 0..count)
}

proptest! {
    #[test]
    fn simultaneously_live_buffers_never_overlap(lifetimes in lifetimes(60)) {
        let plan = plan_arena(&lifetimes).expect("small");
        prop_assert!(plan.bytes >= plan.lower_bound);
        for (i, a) in lifetimes.iter().enumerate() {
            prop_assert_eq!(plan.offsets[i] % ARENA_ALIGNMENT, 0);
            prop_assert!(plan.offsets[i] + a.size <= plan.bytes);
            for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart = plan.offsets[i] + a.size <= plan.offsets[j]
                    || plan.offsets[j] + b.size <= plan.offsets[i];
                prop_assert!(!together || apart, "{i} and {j}: {plan:?}");
            }
        }
        prop_assert_eq!(&plan, &plan_arena(&lifetimes).expect("small"));
    }
}

/// A chain with residual connections, as vision networks have: each layer's result lives until
/// the next, every third until three later, and widths follow the usual pyramid.
fn residual_network(layers: u32) -> Vec<Lifetime> {
    (0..layers)
        .map(|step| Lifetime {
            size: (1 << 20 >> (step * 5 / layers)) * u64::from(1 + step % 3 * 2),
            first: step,
            last: step + if step % 3 == 0 { 3 } else { 1 },
        })
        .collect()
}

#[test]
fn networks_come_within_a_tenth_of_the_lower_bound() {
    for layers in [10, 60, 150, 300] {
        let plan = plan_arena(&residual_network(layers)).expect("small");
        assert!(plan.bytes * 10 <= plan.lower_bound * 11, "{layers} layers: {} of {}", plan.bytes, plan.lower_bound);
    }
}

#[test]
fn random_workloads_come_close_to_the_lower_bound() {
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut worst = 0.0_f64;
    for _ in 0..20 {
        let lifetimes: Vec<Lifetime> = (0..200)
            .map(|step| Lifetime { size: 1000 + next(100_000), first: step, last: step + 1 + next(6) as u32 })
            .collect();
        let plan = plan_arena(&lifetimes).expect("small");
        worst = worst.max(plan.bytes as f64 / plan.lower_bound as f64);
    }
    assert!(worst <= 1.1, "worst ratio {worst}");
}

#[test]
fn absurd_sizes_are_errors() {
    let huge = Lifetime { size: u64::MAX, first: 0, last: 0 };
    assert!(plan_arena(&[huge, huge]).is_err());
    assert!(plan_arena(&[]).is_ok_and(|plan| plan.bytes == 0));
}
