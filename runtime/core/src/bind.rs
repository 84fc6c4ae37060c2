//! Binding: from the inputs' types and shapes to symbol values, with errors that name the input.

use drupe_format::plan::{ArchivedPlan, ArchivedPort, ArchivedSymbolSource};
use drupe_format::{DType, Linear, describe_shape, evaluate};

use crate::error::Error;

/// What binding needs of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputShape<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
}

/// For every input of the plan, its position in `given`.
pub(crate) fn match_inputs(plan: &ArchivedPlan, given: &[InputShape]) -> Result<Vec<usize>, Error> {
    // Models that keep states have hundreds, and give them in order.
    if plan.inputs.iter().map(|port| port.name.as_str()).eq(given.iter().map(|input| input.name)) {
        return Ok((0..given.len()).collect());
    }
    let expected = || plan.inputs.iter().map(|port| port.name.as_str().to_owned()).collect();
    for (index, input) in given.iter().enumerate() {
        if !plan.inputs.iter().any(|port| port.name == input.name) {
            return Err(Error::UnknownInput { name: input.name.into(), expected: expected() });
        }
        if given[..index].iter().any(|other| other.name == input.name) {
            return Err(Error::Repeated { name: input.name.into() });
        }
    }
    let position = |port: &ArchivedPort| {
        given.iter().position(|input| port.name == input.name).ok_or_else(|| Error::MissingInput {
            name: port.name.as_str().into(),
            dtype: port.dtype,
            shape: describe_shape(plan, &port.shape),
        })
    };
    plan.inputs.iter().map(position).collect()
}

/// Reads symbol values off the inputs' shapes (given in the plan's order) and checks every
/// dimension. Symbols that steps set get their largest value. `forms` are the plan's linear forms.
pub(crate) fn bind_symbols(
    plan: &ArchivedPlan,
    forms: &[Option<Linear>],
    inputs: &[InputShape],
) -> Result<Vec<i64>, Error> {
    let mut bound: Vec<Option<i64>> = plan
        .symbols
        .iter()
        .map(|symbol| match symbol.source {
            ArchivedSymbolSource::Input => None,
            ArchivedSymbolSource::Step => Some(symbol.max.to_native() as i64),
        })
        .collect();
    for (port, input) in plan.inputs.iter().zip(inputs) {
        check_type(plan, port, input)?;
        for (dim, &found) in port.shape.iter().zip(input.shape) {
            // Whether the dimension is exactly this expression is checked below, once all symbols have values.
            let Some(linear) = &forms[dim.index()] else { continue };
            let value = linear.solve(i64::try_from(found).unwrap_or(i64::MAX));
            bound[linear.symbol].get_or_insert(value);
        }
    }
    // The verifier has seen every input symbol in a dimension that tells it, so none is left unbound.
    let values: Vec<i64> = bound.into_iter().map(Option::unwrap_or_default).collect();
    for (index, &value) in values.iter().enumerate() {
        check_range(plan, index, value)?;
    }
    let mut sizes = Vec::new();
    evaluate(&plan.exprs, &values, &mut sizes)
        .map_err(|(index, fault)| drupe_format::PlanError::Expr { at: drupe_format::At::Expr(index), fault })?;
    for (port, input) in plan.inputs.iter().zip(inputs) {
        for (axis, (dim, &found)) in port.shape.iter().zip(input.shape).enumerate() {
            let size = sizes[dim.index()];
            if i64::try_from(found) != Ok(size) {
                return Err(wrong_dim(plan, port, input, axis, size));
            }
        }
    }
    Ok(values)
}

/// Checks that a symbol's value lies in its range.
pub(crate) fn check_range(plan: &ArchivedPlan, symbol: usize, value: i64) -> Result<(), Error> {
    let symbol = &plan.symbols[symbol];
    let (min, max) = (symbol.min.to_native(), symbol.max.to_native());
    if u64::try_from(value).is_ok_and(|value| (min..=max).contains(&value)) {
        return Ok(());
    }
    Err(Error::SymbolRange { symbol: symbol.name.as_str().into(), min, max, found: value })
}

fn check_type(plan: &ArchivedPlan, port: &ArchivedPort, input: &InputShape) -> Result<(), Error> {
    if port.dtype != input.dtype {
        return Err(Error::InputType { name: input.name.into(), expected: port.dtype, found: input.dtype });
    }
    if port.shape.len() != input.shape.len() {
        return Err(Error::InputRank {
            name: input.name.into(),
            expected: describe_shape(plan, &port.shape),
            rank: port.shape.len(),
            found: input.shape.to_vec(),
        });
    }
    Ok(())
}

fn wrong_dim(plan: &ArchivedPlan, port: &ArchivedPort, input: &InputShape, axis: usize, size: i64) -> Error {
    Error::InputDim {
        name: input.name.into(),
        expected: describe_shape(plan, &port.shape),
        found: input.shape.to_vec(),
        axis,
        size,
    }
}
