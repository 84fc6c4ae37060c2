//! Inputs: their types from the file and the user, and the symbols of their dimensions.

use crate::Options;
use crate::model;
use crate::numbers::{Number, Numbers};
use crate::proto::{GraphProto, TensorTypeProto, ValueInfoProto};
use drupe_ir::{DType, Diagnostic, Dim, Type};
use std::collections::{BTreeMap, BTreeSet};

/// What an input is.
pub enum Input {
    /// A tensor that every run gets.
    Tensor(Type),
    /// A number that the user has fixed.
    Fixed(Numbers),
}

/// The inputs of `graph` that are not among `constants`, by name.
pub fn inputs(
    graph: &GraphProto,
    constants: &BTreeSet<&str>,
    options: &Options,
) -> Result<Vec<(String, Input)>, Diagnostic> {
    let wanted: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect();
    let given = options.shapes.iter().map(|(name, _)| name).chain(options.values.iter().map(|(name, _)| name));
    for name in given {
        if !wanted.iter().any(|input| input.name == *name) {
            let names: Vec<&str> = wanted.iter().map(|input| input.name.as_str()).collect();
            let message = format!("the model has no input {name:?}; its inputs are {}", names.join(", "));
            return Err(Diagnostic::new("option", message));
        }
    }
    let mut symbols = Symbols::default();
    for input in &wanted {
        if let Some(shape) = shape_option(options, &input.name) {
            symbols.bind(&input.name, tensor_type(input)?, shape)?;
        }
    }
    let mut found = Vec::new();
    for input in wanted {
        let dtype = model::dtype(tensor_type(input)?.elem_type)?;
        let shape = match shape_option(options, &input.name) {
            Some(shape) => shape.to_vec(),
            None => symbols.shape_of(input)?,
        };
        let fixed = options.values.iter().find(|(name, _)| *name == input.name);
        let input_type = match fixed {
            Some((_, value)) => Input::Fixed(fixed_number(&input.name, dtype, &shape, *value)?),
            None => Input::Tensor(Type::new(dtype, shape)),
        };
        found.push((input.name.clone(), input_type));
    }
    Ok(found)
}

fn shape_option<'a>(options: &'a Options, name: &str) -> Option<&'a [Dim]> {
    options.shapes.iter().find(|(given, _)| given == name).map(|(_, shape)| shape.as_slice())
}

fn tensor_type(input: &ValueInfoProto) -> Result<&TensorTypeProto, Diagnostic> {
    input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()).ok_or_else(|| {
        Diagnostic::new("unsupported", format!("input {:?} is not a dense tensor of a known type", input.name))
    })
}

fn fixed_number(name: &str, dtype: DType, shape: &[Dim], value: f64) -> Result<Numbers, Diagnostic> {
    let wrong = |why: &str| Diagnostic::new("option", format!("input {name:?} cannot be fixed to {value}: {why}"));
    if !Dim::product(shape).is(1) {
        return Err(wrong("it has more than one element"));
    }
    let number = match dtype {
        DType::F32 | DType::F64 => Number::Float(value),
        DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::Bool if value.fract() == 0.0 => {
            Number::Int(Dim::from(value as i64))
        }
        _ => return Err(wrong(&format!("its elements are {dtype}"))),
    };
    Numbers::new(dtype, vec![1; shape.len()], vec![number]).ok_or_else(|| wrong("its rank is too high"))
}

/// Whether two dimensions so called are equal: `?`, as some exporters write, says nothing.
fn is_name(dim_param: &str) -> bool {
    dim_param.contains(|c: char| c.is_alphanumeric())
}

/// The symbols for the names that a model gives its dimensions.
#[derive(Default)]
struct Symbols {
    by_name: BTreeMap<String, Dim>,
    taken: BTreeSet<String>,
}

impl Symbols {
    /// Where the user gives a shape for one input, dimensions of the same name elsewhere follow it.
    fn bind(&mut self, input: &str, ty: &TensorTypeProto, shape: &[Dim]) -> Result<(), Diagnostic> {
        let Some(declared) = &ty.shape else { return Ok(()) };
        if declared.dim.len() != shape.len() {
            let message =
                format!("input {input:?} has rank {}, a shape of rank {} given", declared.dim.len(), shape.len());
            return Err(Diagnostic::new("option", message));
        }
        self.taken.extend(shape.iter().flat_map(|dim| dim.symbols()).map(|symbol| symbol.to_string()));
        for (dim, given) in declared.dim.iter().zip(shape) {
            if let Some(name) = dim.dim_param.as_deref().filter(|name| is_name(name)) {
                self.by_name.entry(name.into()).or_insert_with(|| given.clone());
            }
        }
        Ok(())
    }

    fn shape_of(&mut self, input: &ValueInfoProto) -> Result<Vec<Dim>, Diagnostic> {
        let shape = tensor_type(input)?.shape.as_ref().ok_or_else(|| {
            Diagnostic::new("shape", format!("the model does not say what shape input {:?} has", input.name))
                .help(format!("give it: `--shape {}=1,3,224,224`", input.name))
        })?;
        let mut dims = Vec::new();
        for (axis, dim) in shape.dim.iter().enumerate() {
            dims.push(match (dim.dim_value, dim.dim_param.as_deref()) {
                (Some(extent), _) if extent >= 0 => Dim::from(extent),
                (_, Some(name)) if is_name(name) => self.named(name),
                _ => self.fresh(&format!("{}_{axis}", input.name)),
            });
        }
        Ok(dims)
    }

    fn named(&mut self, name: &str) -> Dim {
        if let Some(dim) = self.by_name.get(name) {
            return dim.clone();
        }
        let dim = self.fresh(name);
        self.by_name.insert(name.into(), dim.clone());
        dim
    }

    /// A new symbol called about `name`.
    fn fresh(&mut self, name: &str) -> Dim {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut symbol: String = name.chars().take(64).map(plain).collect();
        if !symbol.starts_with(|c: char| c.is_ascii_alphabetic()) {
            symbol.insert(0, 'd');
        }
        // Words that mean something else in the textual IR.
        while self.taken.contains(&symbol) || ["max", "min", "inf", "NaN"].contains(&symbol.as_str()) {
            symbol.push('_');
        }
        self.taken.insert(symbol.clone());
        Dim::symbol(&symbol)
    }
}
