//! Which candidate for which group of layers, within a budget: the multiple-choice knapsack problem.

/// What choosing something for a group means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What it costs; the sum over groups is to be small.
    pub cost: u64,
    /// What it takes of the budget, 0 or more.
    pub rise: f64,
}

/// Steps of the budget. What a candidate takes is rounded up to one, so that the sum is within the budget.
const STEPS: usize = 1 << 14;

/// The candidate of every group, by its number, so that all rises together are within `budget` and all costs together are
/// the least, but for the rounding of rises to a 16384th of the budget; none where no choice is within it.
///
/// By dynamic programming (Dudzinski and Walukiewicz, "Exact methods for the knapsack problem and its generalizations",
/// 1987): the least cost of the first groups for every part of the budget.
///
/// ```
/// use drupe_quantize::{Candidate, allocate};
/// let candidates = [(4, 0.03), (8, 0.001)].map(|(cost, rise)| Candidate { cost, rise });
/// let groups = vec![candidates.to_vec(), candidates.to_vec()];
/// assert_eq!(allocate(&groups, 0.1), Some(vec![0, 0]));
/// assert_eq!(allocate(&groups, 0.035).map(|chosen| chosen.iter().sum()), Some(1));
/// assert_eq!(allocate(&groups, 0.001), None);
/// ```
pub fn allocate(groups: &[Vec<Candidate>], budget: f64) -> Option<Vec<usize>> {
    if budget.is_nan() || budget < 0.0 {
        return None;
    }
    let steps = |rise: f64| match rise {
        rise if rise <= 0.0 => Some(0),
        rise if rise <= budget => Some((rise / budget * STEPS as f64).ceil() as usize),
        _ => None,
    };
    let mut least: Vec<Option<u64>> = vec![Some(0); STEPS + 1];
    let mut chosen: Vec<Vec<u16>> = Vec::with_capacity(groups.len());
    for group in groups {
        let (mut next, mut choice) = (vec![None; STEPS + 1], vec![u16::MAX; STEPS + 1]);
        for (number, candidate) in group.iter().enumerate().take(usize::from(u16::MAX)) {
            let Some(taken) = steps(candidate.rise) else { continue };
            for spent in taken..=STEPS {
                let cost = least[spent - taken].map(|cost: u64| cost.saturating_add(candidate.cost));
                if cost.is_some_and(|cost| next[spent].is_none_or(|known| cost < known)) {
                    (next[spent], choice[spent]) = (cost, number as u16);
                }
            }
        }
        least = next;
        chosen.push(choice);
    }
    least[STEPS]?;
    let mut left = STEPS;
    let mut numbers = Vec::with_capacity(groups.len());
    for (group, choice) in groups.iter().zip(&chosen).rev() {
        let number = usize::from(choice[left]);
        left -= steps(group[number].rise).unwrap_or(0);
        numbers.push(number);
    }
    numbers.reverse();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All choices, one after the other.
    fn by_trying(groups: &[Vec<Candidate>], budget: f64) -> Option<u64> {
        let Some((first, rest)) = groups.split_first() else { return (budget >= 0.0).then_some(0) };
        let costs = first.iter().filter_map(|one| Some(one.cost + by_trying(rest, budget - one.rise)?));
        costs.min()
    }

    #[test]
    fn it_is_the_best_choice() {
        let number = |seed: usize| (seed * 7919 + 104_729) % 997;
        for seed in 0..40 {
            let one = |at: usize| Candidate {
                cost: number(seed * 131 + at) as u64,
                // Whole steps: nothing is lost by rounding.
                rise: (number(seed * 17 + at * 5) % 64) as f64 / 64.0,
            };
            let groups: Vec<Vec<Candidate>> =
                (0..6).map(|group| (0..4).map(|c| one(group * 4 + c)).collect()).collect();
            for budget in [0.0, 0.5, 1.0, 2.0, 4.0] {
                let found = allocate(&groups, budget);
                let of = |numbers: &[usize], part: fn(&Candidate) -> f64| -> f64 {
                    numbers.iter().zip(&groups).map(|(number, group)| part(&group[*number])).sum()
                };
                assert_eq!(
                    found.as_ref().map(|found| of(found, |one| one.cost as f64) as u64),
                    by_trying(&groups, budget)
                );
                assert!(found.is_none_or(|found| of(&found, |one| one.rise) <= budget));
            }
        }
    }
}
