//! A model's inputs: from files, or made up.

use crate::commands::model::{runtime_error, split_name};
use crate::files;
use crate::files::picture::{self, Extent, Layout, Preprocessing};
use drupe_format::plan::{ArchivedExpr, ArchivedPlan, ArchivedPort};
use drupe_format::{evaluate, linear_forms};
use drupe_ir::{Diagnostic, Dim, TensorData};
use drupe_runtime::{DType, Tensor, TensorView};
use std::path::Path;

/// Where inputs come from.
#[derive(clap::Args, Debug)]
pub(crate) struct InputArgs {
    /// An input, repeatable: NAME=FILE, or only FILE if the model has one; .npy, .png, .jpg, or an .npz of many
    #[arg(long = "input", short = 'i', value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// For pictures: subtracted from every pixel (0 to 255), one number or one a channel [default: 0]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    mean: Vec<f32>,
    /// For pictures: then divided by, one number or one a channel [default: 255, or 1 if the input is of integers]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    std: Vec<f32>,
    /// For pictures: where the channels are, if the input's shape does not tell
    #[arg(long, value_enum)]
    layout: Option<Layout>,
}

/// What inputs that no file gives are made of.
#[derive(clap::Args, Debug)]
pub(crate) struct RandomArgs {
    /// A symbol's value for inputs that are not given, repeatable; its least value if not told
    #[arg(long = "dim", value_name = "SYMBOL=VALUE", value_parser = parse_dim)]
    dims: Vec<(String, i64)>,
    /// The seed of inputs that are not given
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Inputs by name.
pub(crate) type Inputs = Vec<(String, Tensor)>;

/// The inputs as a session takes them.
pub(crate) fn views(inputs: &Inputs) -> Vec<(&str, TensorView<'_>)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect()
}

/// The inputs as the interpreter takes them.
pub(crate) fn tensor_data(name: &str, tensor: TensorView) -> Result<TensorData, Diagnostic> {
    let dtype = drupe_ir::DType::from_name(tensor.dtype().name()).unwrap_or(drupe_ir::DType::U8);
    TensorData::from_bytes(dtype, tensor.shape().to_vec(), tensor.bytes().to_vec())
        .map_err(|error| runtime_error(format!("{name:?}: {error}")))
}

/// The tensor as the runtime takes it.
pub(crate) fn runtime_tensor(name: &str, data: &TensorData) -> Result<Tensor, Diagnostic> {
    let dtype = DType::from_name(data.dtype.name())
        .ok_or_else(|| runtime_error(format!("{name:?}: elements of {} are not whole bytes", data.dtype)))?;
    Tensor::from_bytes(dtype, &data.shape, data.bytes()).map_err(runtime_error)
}

impl InputArgs {
    /// The inputs that files give.
    pub(crate) fn given(&self, plan: &ArchivedPlan) -> Result<Inputs, Diagnostic> {
        let mut given = Inputs::new();
        for argument in &self.inputs {
            match split_name(argument) {
                Some((name, file))
                    if plan.inputs.iter().any(|port| port.name == name) || !Path::new(argument).exists() =>
                {
                    given.push((name.to_owned(), self.read(plan, name, Path::new(file))?));
                }
                _ if files::extension(Path::new(argument)) == "npz" => {
                    for (name, data) in files::read_npz(Path::new(argument))? {
                        given.push((name.clone(), runtime_tensor(&name, &data)?));
                    }
                }
                _ => {
                    let [only] = plan.inputs.as_slice() else {
                        let names: Vec<&str> = plan.inputs.iter().map(|port| port.name.as_str()).collect();
                        return Err(Diagnostic::new(
                            "input",
                            format!("{argument:?}: the model has {} inputs", names.len()),
                        )
                        .help(format!(
                            "say which, as in --input {}=FILE; they are {names:?}",
                            names.first().unwrap_or(&"x")
                        )));
                    };
                    given.push((only.name.as_str().to_owned(), self.read(plan, &only.name, Path::new(argument))?));
                }
            }
        }
        Ok(given)
    }

    fn read(&self, plan: &ArchivedPlan, name: &str, path: &Path) -> Result<Tensor, Diagnostic> {
        let extension = files::extension(path);
        if extension == "npy" {
            return runtime_tensor(name, &files::read_npy(path)?);
        }
        if !picture::is_picture(&extension) {
            return Err(Diagnostic::new("input", format!("{}: drupe reads .npy, .npz, .png and .jpg", path.display())));
        }
        let port = plan.inputs.iter().find(|port| port.name == name).ok_or_else(|| {
            let names: Vec<&str> = plan.inputs.iter().map(|port| port.name.as_str()).collect();
            runtime_error(format!("the model has no input {name:?}; its inputs are {names:?}"))
        })?;
        let dtype = drupe_ir::DType::from_name(port.dtype.name()).unwrap_or(drupe_ir::DType::F32);
        let or = |given: &[f32], default: f32| if given.is_empty() { vec![default] } else { given.to_vec() };
        let scale = if dtype.is_float() { 255.0 } else { 1.0 };
        let how = Preprocessing { mean: or(&self.mean, 0.0), std: or(&self.std, scale), layout: self.layout };
        runtime_tensor(name, &picture::read(path, dtype, &extents(plan, port), &how)?)
    }
}

fn extents(plan: &ArchivedPlan, port: &ArchivedPort) -> Vec<Extent> {
    let forms = linear_forms(plan);
    let extent = |index: usize| match (&plan.exprs[index], &forms[index]) {
        (ArchivedExpr::Const(extent), _) => Extent::Fixed(usize::try_from(extent.to_native()).unwrap_or(0)),
        (_, Some(linear)) => Extent::Free { factor: linear.factor, constant: linear.constant },
        (_, None) => Extent::Free { factor: 1, constant: 0 },
    };
    port.shape.iter().map(|dim| extent(dim.index())).collect()
}

impl RandomArgs {
    /// `given` and, for the model's other inputs, noise: floats in -1..1, bytes anything, wider integers 0 or 1.
    /// `shapes` has the extents of inputs whose shape the model leaves open.
    pub(crate) fn complete(
        &self,
        plan: &ArchivedPlan,
        mut given: Inputs,
        shapes: &[(String, Vec<Dim>)],
    ) -> Result<Inputs, Diagnostic> {
        let symbols = self.symbols(plan, &given, shapes)?;
        let mut values = Vec::new();
        evaluate(&plan.exprs, &symbols, &mut values).map_err(|(_, fault)| runtime_error(fault))?;
        shapes.iter().try_for_each(|(name, dims)| check_shape(plan, &values, name, dims))?;
        for port in plan.inputs.iter() {
            let name = port.name.as_str();
            if given.iter().any(|(other, _)| other == name) {
                continue;
            }
            let shape: Option<Vec<usize>> =
                port.shape.iter().map(|dim| usize::try_from(values[dim.index()]).ok()).collect();
            let shape =
                shape.ok_or_else(|| runtime_error(format!("the input {name:?} would have a negative extent")))?;
            given.push((name.to_owned(), noise(port.dtype, &shape, self.seed ^ hash(name))?));
        }
        Ok(given)
    }

    /// Every symbol's value: by `--dim`, by a tensor or shape that is given, or the least.
    fn symbols(
        &self,
        plan: &ArchivedPlan,
        given: &Inputs,
        shapes: &[(String, Vec<Dim>)],
    ) -> Result<Vec<i64>, Diagnostic> {
        if let Some((name, _)) =
            self.dims.iter().find(|(name, _)| !plan.symbols.iter().any(|symbol| symbol.name == name.as_str()))
        {
            let names: Vec<&str> = plan.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
            return Err(Diagnostic::new("input", format!("the model has no symbol {name:?}, only {names:?}")));
        }
        let forms = linear_forms(plan);
        let tensors = given
            .iter()
            .map(|(name, tensor)| (name, tensor.shape().iter().map(|extent| Some(*extent as i64)).collect::<Vec<_>>()));
        let stated = shapes.iter().map(|(name, dims)| (name, dims.iter().map(Dim::as_const).collect::<Vec<_>>()));
        let known: Vec<_> = tensors.chain(stated).collect();
        let told = |index: usize| {
            known.iter().find_map(|(name, extents)| {
                let port = plan.inputs.iter().find(|port| port.name == name.as_str())?;
                port.shape.iter().zip(extents).find_map(|(dim, extent)| {
                    let linear = forms[dim.index()].filter(|linear| linear.symbol == index)?;
                    extent.map(|extent| linear.solve(extent))
                })
            })
        };
        let value = |(index, symbol): (usize, &drupe_format::plan::ArchivedSymbol)| {
            let by_name = self.dims.iter().find(|(name, _)| symbol.name == name.as_str()).map(|(_, value)| *value);
            by_name.or_else(|| told(index)).unwrap_or(symbol.min.to_native() as i64)
        };
        Ok(plan.symbols.iter().enumerate().map(value).collect())
    }
}

/// Whether the input `name` can have the shape `dims`; `values` are those of the plan's expressions.
fn check_shape(plan: &ArchivedPlan, values: &[i64], name: &str, dims: &[Dim]) -> Result<(), Diagnostic> {
    let port = plan.inputs.iter().find(|port| port.name == name).ok_or_else(|| {
        let names: Vec<&str> = plan.inputs.iter().map(|port| port.name.as_str()).collect();
        Diagnostic::new("input", format!("the model has no input {name:?}; its inputs are {names:?}"))
    })?;
    let shape: Vec<i64> = port.shape.iter().map(|dim| values[dim.index()]).collect();
    let fits = |(dim, extent): (&Dim, &i64)| dim.as_const().is_none_or(|dim| dim == *extent);
    if dims.len() == shape.len() && dims.iter().zip(&shape).all(fits) {
        return Ok(());
    }
    let asked: Vec<String> = dims.iter().map(Dim::to_string).collect();
    Err(Diagnostic::new("input", format!("the input {name:?} has the shape {shape:?} and not [{}]", asked.join(", ")))
        .help("an artifact's fixed shapes were chosen when it was compiled: compile the model for this shape"))
}

fn noise(dtype: DType, shape: &[usize], seed: u64) -> Result<Tensor, Diagnostic> {
    let mut tensor = Tensor::zeros(dtype, shape).map_err(runtime_error)?;
    let mut state = seed | 1;
    // xorshift64* (Vigna, 2016).
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    for element in tensor.bytes_mut().chunks_exact_mut(dtype.size()) {
        let bits = next();
        let unit = bits as f64 / f64::from(1u32 << 31) - 1.0;
        match dtype {
            DType::F32 => element.copy_from_slice(&(unit as f32).to_le_bytes()),
            DType::F64 => element.copy_from_slice(&unit.to_le_bytes()),
            DType::F16 => element.copy_from_slice(&half::f16::from_f64(unit).to_le_bytes()),
            DType::BF16 => element.copy_from_slice(&half::bf16::from_f64(unit).to_le_bytes()),
            DType::I8 | DType::U8 => element[0] = bits as u8,
            DType::I16 | DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::Bool => {
                element[0] = (bits >> 16) as u8 & 1;
            }
        }
    }
    Ok(tensor)
}

/// FNV-1a, so that inputs differ from one another but not from one run to the next.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = split_name(text).ok_or("SYMBOL=VALUE expected, such as B=4")?;
    Ok((name.to_owned(), value.parse().map_err(|_| format!("{value:?} is not a number"))?))
}
