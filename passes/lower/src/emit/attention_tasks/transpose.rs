//! Vectors as the rows of a square: transposed, and summed.

use super::Emitter;
use drupe_ir::BinaryOp;
use drupe_kernel::Value;

impl Emitter<'_> {
    /// As many vectors as each has lanes, transposed: vector `i` of the result has lane `i` of each.
    pub(super) fn transposed(&mut self, mut rows: Vec<Value>) -> Vec<Value> {
        let mut block = 1;
        while block < rows.len() {
            for low in (0..rows.len()).filter(|row| row & block == 0) {
                let (a, b) = (rows[low], rows[low + block]);
                let [even, odd] = self.interleaved(a, b, block);
                (rows[low], rows[low + block]) = (even, odd);
            }
            block *= 2;
        }
        rows
    }

    /// As many vectors as each has lanes: lane `i` of the result is the sum of all lanes of vector `i`. With `block` 1; of
    /// fewer vectors, some power of two, the results are summed so with as many as `block`.
    pub(super) fn lane_sums(&mut self, mut rows: Vec<Value>, mut block: usize) -> Value {
        while rows.len() > 1 {
            let pairs: Vec<(Value, Value)> = rows.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            rows = pairs
                .into_iter()
                .map(|(a, b)| {
                    let [even, odd] = self.interleaved(a, b, block);
                    self.binary(BinaryOp::Add, even, odd)
                })
                .collect();
            block *= 2;
        }
        rows[0]
    }

    /// The even blocks of `block` lanes of `a` and `b` in turns, and the odd ones.
    fn interleaved(&mut self, a: Value, b: Value, block: usize) -> [Value; 2] {
        let lanes = usize::from(self.b.ty(a).lanes);
        [0, block].map(|odd| {
            let of_b = |lane: usize| lane & block != 0;
            let pick = |lane: usize| (lane & !block) + odd + if of_b(lane) { lanes } else { 0 };
            self.b.shuffle(a, b, (0..lanes).map(|lane| pick(lane) as u16).collect())
        })
    }
}
