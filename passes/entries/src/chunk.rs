//! How many tokens chunks of a prompt should have: many read the weights less often, few waste less of the last chunk.

use crate::{new_rows, without_outputs};
use drupe_ir::{Body, DType, Diagnostic, Dim, Module, Node, Op, Type};
use drupe_target::Target;

/// The lengths to choose the longest from.
const LENGTHS: [u64; 5] = [32, 64, 128, 256, 512];

/// How many times shorter the next length is: what is left of a prompt goes through few runs and fills little up.
const SHORTER: u64 = 4;

/// The least length beside a longer one: the weights' reading is most of its time.
const SHORTEST: u64 = 16;

/// Tokens of the prompt that estimates are for.
const PROMPT: f64 = 512.0;

/// The share of the peak that products reach.
const EFFICIENCY: f64 = 0.7;

/// How many times the products of a dot product's instruction are those of a multiply-add of f32.
const OCTETS: f64 = 4.0;

/// How many times faster than memory the last cache is, which all cores share.
const SHARED_CACHE: f64 = 2.0;

/// Operations for an element of what is not a product.
const ELEMENT: f64 = 8.0;

/// Seconds to start a step on all cores.
const STEP: f64 = 3e-6;

/// What a prompt is expected to take in chunks of some length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkEstimate {
    /// Tokens of a chunk.
    pub tokens: u64,
    /// Tokens of a prompt of 512 read in a second, in full chunks.
    pub rate: f64,
}

/// What prompts are expected to take on the CPU of `target` in chunks of 32, 64, 128, 256 and 512 tokens, as far as
/// `module` takes so many; nothing if it has no states. A chunk's time is the sum of:
///
/// - reading the weights, each once, at the memory's bandwidth;
/// - multiply-adds, at 70 % of the peak of all cores; of octets four at a time where the best level has dot products. A
///   token sees half of the prompt on average, however that is cut;
/// - what products read and write of the chunk, where it is more than the second-level caches of all cores hold: at the
///   memory's bandwidth, or twice that where the third level holds it;
/// - some operations for every other element, and a start for every step with a fold.
///
/// # Errors
/// When the states do not all grow by one symbol.
pub fn estimate_chunks(module: &Module, target: &Target) -> Result<Vec<ChunkEstimate>, Diagnostic> {
    if module.states.is_empty() {
        return Ok(Vec::new());
    }
    let symbol = new_rows(module)?;
    let most = module.symbols.get(&symbol).map_or(u64::MAX, |range| range.max);
    let mut lengths: Vec<u64> = LENGTHS.into_iter().filter(|length| *length <= most).collect();
    if lengths.is_empty() {
        lengths.push(most);
    }
    let prefill = without_outputs(module);
    let estimate = |tokens: u64| {
        let chunk = Chunk { symbol: &symbol, tokens: tokens as i64, target };
        ChunkEstimate { tokens, rate: tokens as f64 / chunk.seconds(&prefill) }
    };
    Ok(lengths.into_iter().map(estimate).collect())
}

/// The lengths that read prompts fastest, longest first: that of the best rate, and for what is left of a prompt a quarter
/// of that, and a quarter again, down to 16 tokens. One of 1 where there is nothing to choose from.
pub fn choose_chunks(estimates: &[ChunkEstimate]) -> Vec<u64> {
    let longest = estimates.iter().max_by(|a, b| a.rate.total_cmp(&b.rate)).map_or(1, |best| best.tokens);
    let shorter = std::iter::successors(Some(longest / SHORTER), |length| Some(length / SHORTER));
    std::iter::once(longest).chain(shorter.take_while(|length| *length >= SHORTEST)).collect()
}

/// A chunk of a length.
struct Chunk<'a> {
    /// The number of its tokens in shapes.
    symbol: &'a str,
    tokens: i64,
    target: &'a Target,
}

impl Chunk<'_> {
    /// The value of a dimension: what comes before the chunk is such that its tokens see half of the prompt.
    fn extent(&self, dim: &Dim) -> f64 {
        let value = |name: &str| Some(if name == self.symbol { self.tokens } else { PROMPT as i64 / 2 - self.tokens });
        dim.eval(&value).map_or(1.0, |extent| extent.max(0) as f64)
    }

    fn elements(&self, dims: &[Dim]) -> f64 {
        dims.iter().map(|dim| self.extent(dim)).product()
    }

    fn bytes(&self, ty: &Type) -> f64 {
        self.elements(&ty.shape) * f64::from(ty.dtype.bits()) / 8.0
    }

    /// The time that all nodes take that do not depend on constants only.
    fn seconds(&self, module: &Module) -> f64 {
        let mut constant: Vec<bool> = Vec::with_capacity(module.graph.nodes.len());
        let mut total = 0.0;
        for node in &module.graph.nodes {
            let known = !matches!(node.op, Op::Input(_)) && node.operands.iter().all(|of| constant[of.index()]);
            if !known && !matches!(node.op, Op::Input(_) | Op::Reshape(_)) {
                total += self.node_seconds(module, node, &constant);
            }
            constant.push(known);
        }
        total
    }

    fn node_seconds(&self, module: &Module, node: &Node, constant: &[bool]) -> f64 {
        let types: Vec<&Type> = node.operands.iter().map(|of| module.graph.ty(*of)).collect();
        let body = node.op.body(&types, &node.ty).filter(|body| !body.folds.is_empty());
        let peak = self.target.peak_flops();
        let Some(body) = body else { return self.elements(&node.ty.shape) * ELEMENT / peak };
        let is_constant = |at: usize| constant[node.operands[at].index()];
        let of = |known: bool| (0..types.len()).filter(move |at| is_constant(*at) == known);
        let weights: f64 = of(true).map(|at| self.bytes(types[at])).sum();
        let moved = of(false).map(|at| self.bytes(types[at])).sum::<f64>() + self.bytes(&node.ty);
        let octets = node.op.quantized_operands().is_some() && types[0].dtype == DType::I8;
        let at_a_time = if octets && self.target.best_level().int8_dot.is_some() { OCTETS } else { 1.0 };
        let bandwidth = self.target.bandwidth_gb_s * 1e9;
        STEP + weights / bandwidth
            + 2.0 * self.multiply_adds(&body) / (EFFICIENCY * at_a_time * peak)
            + moved / (bandwidth * self.times_memory(moved))
    }

    /// How many times faster than memory so many bytes are reached, that were just written.
    fn times_memory(&self, bytes: f64) -> f64 {
        let cache = self.target.cache;
        if bytes <= cache.l1.max(cache.l2) as f64 * f64::from(self.target.cores) {
            f64::INFINITY
        } else if bytes <= cache.l3 as f64 {
            SHARED_CACHE
        } else {
            1.0
        }
    }

    /// The steps of all folds of a body.
    fn multiply_adds(&self, body: &Body) -> f64 {
        let steps = |fold: &drupe_ir::Fold| {
            let outer = body.indices_of(fold.element).into_iter().map(|axis| self.extent(&body.space[axis]));
            outer.product::<f64>() * self.elements(&fold.space)
        };
        body.folds.iter().map(steps).sum()
    }
}
