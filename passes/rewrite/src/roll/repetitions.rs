//! Repetitions in a sequence: where it equals itself some steps later.

use indexmap::IndexMap;

/// `keys[i] == keys[i + period]` for all `i` in `start..end - period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// The first position.
    pub start: usize,
    /// Behind the last position.
    pub end: usize,
    /// The period.
    pub period: usize,
}

/// Every repetition of at least three periods that cannot be extended, with its least period, in time `n log n`.
///
/// Grams of doubling length are numbered by pairs of shorter ones (Karp, Miller, Rosenberg 1972). In a repetition of
/// least period `p`, a gram of at least `p` keys occurs again after `p` keys and not before. So the distances from each
/// gram to the next like it, where they are in `length / 2 < distance <= length`, are the periods.
pub fn repetitions(keys: &[u32]) -> Vec<Repetition> {
    let (mut found, mut grams, mut length) = (Vec::new(), keys.to_vec(), 1);
    while !grams.is_empty() {
        let distances = distances(&grams);
        let mut start = 0;
        while start < distances.len() {
            let period = distances[start];
            let alike = distances[start..].iter().take_while(|distance| **distance == period).count();
            if 2 * period > length && period <= length && alike + length > 2 * period {
                found.push(Repetition { start, end: start + alike - 1 + length + period, period });
            }
            start += alike;
        }
        let mut numbers: IndexMap<(u32, u32), u32> = IndexMap::new();
        let pairs = grams.iter().zip(grams.iter().skip(length));
        grams = pairs
            .map(|(first, second)| {
                let next = numbers.len() as u32;
                *numbers.entry((*first, *second)).or_insert(next)
            })
            .collect();
        length *= 2;
    }
    found
}

/// How far it is from each gram to the next like it; 0 if there is none.
fn distances(grams: &[u32]) -> Vec<usize> {
    let mut last: IndexMap<u32, usize> = IndexMap::new();
    let mut distances: Vec<usize> =
        grams.iter().enumerate().rev().map(|(at, gram)| last.insert(*gram, at).map_or(0, |next| next - at)).collect();
    distances.reverse();
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, tried for every period.
    fn by_trying(keys: &[u32]) -> Vec<Repetition> {
        let mut found: Vec<Repetition> = Vec::new();
        for period in 1..=keys.len() / 3 {
            let mut start = 0;
            while start + period < keys.len() {
                let alike = (start..keys.len() - period).take_while(|at| keys[*at] == keys[at + period]).count();
                let (end, multiple) = (start + alike + period, |other: &Repetition| period % other.period == 0);
                let known = |other: &Repetition| (other.start, other.end) == (start, end) && multiple(other);
                if alike >= 2 * period && !found.iter().any(known) {
                    found.push(Repetition { start, end, period });
                }
                start += alike + 1;
            }
        }
        found
    }

    #[test]
    fn all_repetitions_are_found() {
        assert_eq!(repetitions(&[7, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 9]), [Repetition { start: 1, end: 11, period: 3 }]);
        assert_eq!(repetitions(&[1, 2, 3, 1, 2, 3, 1, 2]), []);
        let mut state = 1u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..2000 {
            // Pieces, some of them several times.
            let mut keys: Vec<u32> = Vec::new();
            for _ in 0..random(4) {
                let piece: Vec<u32> = (0..random(6)).map(|_| random(3)).collect();
                (0..=random(5)).for_each(|_| keys.extend(&piece));
            }
            let sorted = |mut found: Vec<Repetition>| {
                found.sort_by_key(|found| (found.start, found.end, found.period));
                found
            };
            assert_eq!(sorted(repetitions(&keys)), sorted(by_trying(&keys)), "{keys:?}");
        }
    }
}
