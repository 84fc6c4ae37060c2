//! Matrix products.

use crate::node::{Node, Result};
use drupe_ir::{Dim, ValueId};

/// `MatMul`, as NumPy has it: vectors count as rows on the left and as columns on the right.
pub fn matmul(node: &mut Node) -> Result<ValueId> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    multiply(node, a, b)
}

/// The matrix product of a and b, either of which may be a vector.
pub fn multiply(node: &mut Node, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (rank_a, rank_b) = (node.rank(a), node.rank(b));
    if rank_a == 0 || rank_b == 0 {
        return Err(node.invalid("a product of scalars"));
    }
    let left = if rank_a == 1 { node.insert_axes(a, &[0])? } else { a };
    let right = if rank_b == 1 { node.insert_axes(b, &[1])? } else { b };
    let product = node.matmul(left, right)?;
    let rank = node.rank(product);
    let mut unwanted = Vec::new();
    if rank_a == 1 {
        unwanted.push(rank - 2);
    }
    if rank_b == 1 {
        unwanted.push(rank - 1);
    }
    if unwanted.is_empty() { Ok(product) } else { node.drop_axes(product, &unwanted) }
}

/// `Gemm`: `alpha * a b + beta * c`.
pub fn gemm(node: &mut Node) -> Result<ValueId> {
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    if node.rank(a) != 2 || node.rank(b) != 2 {
        return Err(node.invalid(format!("matrices of rank {} and {}", node.rank(a), node.rank(b))));
    }
    if node.flag("transA", false) {
        a = node.transpose_matrix(a)?;
    }
    if node.flag("transB", false) {
        b = node.transpose_matrix(b)?;
    }
    let product = node.matmul(a, b)?;
    let alpha = node.float("alpha", 1.0);
    let scaled = node.times_number(product, alpha)?;
    let Some(c) = node.optional(2)? else { return Ok(scaled) };
    match node.float("beta", 1.0) {
        0.0 => Ok(scaled),
        beta => {
            let c = node.times_number(c, beta)?;
            node.plus(scaled, c)
        }
    }
}

/// `FusedMatMul` of com.microsoft: transposed operands and a factor.
pub fn fused_matmul(node: &mut Node) -> Result<ValueId> {
    if node.flag("transBatchA", false) || node.flag("transBatchB", false) {
        return Err(node.unsupported("transposed batches"));
    }
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    if node.flag("transA", false) && node.rank(a) > 1 {
        a = node.transpose_matrix(a)?;
    }
    if node.flag("transB", false) && node.rank(b) > 1 {
        b = node.transpose_matrix(b)?;
    }
    let product = multiply(node, a, b)?;
    let alpha = node.float("alpha", 1.0);
    node.times_number(product, alpha)
}

/// `Flatten`: two axes, those before `axis` and the others.
pub fn flatten(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let axis = match node.int("axis", 1) {
        axis if axis == shape.len() as i64 => shape.len(),
        axis => node.axis(axis, shape.len())?,
    };
    node.reshape(x, vec![Dim::product(&shape[..axis]), Dim::product(&shape[axis..])])
}
