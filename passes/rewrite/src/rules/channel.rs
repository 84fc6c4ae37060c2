//! Constants that differ along one axis only, and weights scaled by them.

use crate::pattern::View;
use crate::term::{Term, mul, reshape};
use drupe_ir::{Dim, Type, ops};
use egg::Id;

/// The extent of the constant `class` along `axis` of `ty` (1, or that of `ty`) when it has extent 1 along all other
/// axes, so that it broadcasts to `ty` without changing it.
pub fn extent_along(view: View, class: Id, ty: &Type, axis: usize) -> Option<i64> {
    let shape = &view.ty(class).shape;
    if !view.is_constant(class) || shape.len() > ty.rank() {
        return None;
    }
    let skip = ty.rank() - shape.len();
    let mut extent = 1;
    for (at, dim) in shape.iter().enumerate() {
        if dim.is(1) {
            continue;
        }
        if skip + at != axis || *dim != ty.shape[axis] {
            return None;
        }
        extent = dim.as_const()?;
    }
    Some(extent)
}

/// The constant `class` of `extent` elements as a tensor of rank `rank` that runs along `axis`.
pub fn along(class: impl Into<Term>, extent: i64, axis: usize, rank: usize) -> Term {
    let mut shape = vec![Dim::from(1); rank];
    shape[axis] = extent.into();
    reshape(class, shape)
}

/// A convolution's weight `[out, in / groups, kernel...]`, each input channel times the element of `scale` (`extent`
/// elements: 1, or one an input channel).
pub fn scale_input_channels(weight: Id, ty: &Type, conv: &ops::Conv, scale: Id, extent: i64) -> Term {
    let rank = ty.rank();
    if extent == 1 || conv.groups == 1 {
        return mul(weight, along(scale, extent, 1, rank));
    }
    // Output channels fall into groups, each of which reads its own input channels.
    let groups = Dim::from(conv.groups);
    let mut grouped = vec![groups.clone(), ty.shape[0].floor_div(&groups)];
    grouped.extend_from_slice(&ty.shape[1..]);
    let mut scale_shape = vec![Dim::from(1); rank + 1];
    (scale_shape[0], scale_shape[2]) = (groups, ty.shape[1].clone());
    reshape(mul(reshape(weight, grouped), reshape(scale, scale_shape)), ty.shape.clone())
}

/// Whether a convolution pads nowhere.
pub fn is_unpadded(conv: &ops::Conv) -> bool {
    conv.pad_low.iter().chain(&conv.pad_high).all(|pad| *pad == 0)
}
