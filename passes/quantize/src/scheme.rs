//! How linear layers are quantised: a name says all of it.

use drupe_ir::{DType, Diagnostic};
use std::fmt;
use std::str::FromStr;

/// How the weights of a linear layer are stored. Scales are f16, one for each group of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightScheme {
    /// 4 or 8 bits for each weight.
    pub bits: u32,
    /// Weights of a row that share a scale; none for all.
    pub group: Option<usize>,
    /// Whether groups have an offset besides the scale, so that their range need not be around 0.
    pub offsets: bool,
    /// Whether the 4 bits are those of a float, which needs an offset: see `weight_quantized_linear`.
    pub float: bool,
}

impl WeightScheme {
    /// 8 bits, in groups of 32.
    pub const EIGHT: WeightScheme = WeightScheme { bits: 8, group: Some(32), offsets: false, float: false };

    /// The element type.
    pub fn dtype(self) -> DType {
        match (self.bits, self.offsets) {
            (4, false) => DType::I4,
            (4, _) => DType::U4,
            (_, false) => DType::I8,
            (_, true) => DType::U8,
        }
    }
}

/// Elements of a token that share a scale under [`Activations::PerBlock`].
pub const ACTIVATION_BLOCK: usize = 32;

/// How the input of a linear layer becomes integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// 8 bits, by a scale of each token, found when it is there: its largest magnitude is 127.
    PerToken,
    /// 8 bits, by a scale of each [`ACTIVATION_BLOCK`] elements of a token, as in llama.cpp; by one of each token where the
    /// depth is not a multiple of that.
    PerBlock,
    /// 8 bits, by one scale, found by calibration: what is larger is clipped.
    Static,
    /// 16 bits, by a scale of each token: two integers of 8 bits, a high one and a low one.
    Sixteen,
    /// Not at all: they stay floats, and weights become numbers in registers.
    Float,
}

/// How linear layers are quantised.
///
/// ```
/// let scheme: drupe_quantize::Scheme = "w4a8-g64-outliers".parse()?;
/// assert_eq!((scheme.weights.bits, scheme.weights.group, scheme.outliers), (4, Some(64), true));
/// assert_eq!(scheme.to_string(), "w4a8-g64-outliers");
/// # Ok::<(), drupe_ir::Diagnostic>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The weights.
    pub weights: WeightScheme,
    /// The inputs.
    pub activations: Activations,
    /// Whether channels far beyond the others are computed in float.
    pub outliers: bool,
    /// Whether channels of inputs are scaled against those of weights, so that inputs are easier to round.
    pub smooth: bool,
    /// Whether channels of inputs are mixed by a rotation, so that none is far beyond the others.
    pub rotate: bool,
    /// Whether weights that the model file has in integers keep these, and the others stay floats: `weights` says nothing.
    pub stored: bool,
}

impl Scheme {
    /// Whether choosing needs a text that the model is run on.
    pub fn needs_calibration(self) -> bool {
        self.outliers || self.smooth || self.activations == Activations::Static
    }
}

/// What there is, for messages.
const FORMS: &str = "w8a8, w4a8, w8a16 or w4a16 (bits of weights and of inputs), w8, w4 or f4 (inputs stay floats), then any \
                     of: -g32 (-g64, -g128: that many weights share a scale; -row: all of a row), -asym (groups have an \
                     offset), -static (one scale for all tokens), -blocks (one for 32 inputs), -smooth (channels scaled against weights), -rotate \
                     (channels mixed), -outliers (large channels in float); or stored, for weights as a GGUF file has \
                     them, then -static, -blocks, -outliers";

impl FromStr for Scheme {
    type Err = Diagnostic;

    fn from_str(text: &str) -> Result<Scheme, Diagnostic> {
        let fail = |what: &str| Diagnostic::new("quantise", format!("{text:?}: {what}")).help(FORMS);
        let mut parts = text.split('-');
        let first = parts.next();
        let (bits, group, activations) = match first {
            Some("w8a8" | "stored") => (8, None, Activations::PerToken),
            Some("w4a8") => (4, Some(32), Activations::PerToken),
            Some("w8a16") => (8, None, Activations::Sixteen),
            Some("w4a16") => (4, Some(32), Activations::Sixteen),
            Some("w8") => (8, None, Activations::Float),
            Some("w4" | "f4") => (4, Some(32), Activations::Float),
            _ => return Err(fail("no such scheme")),
        };
        let (stored, float) = (first == Some("stored"), activations == Activations::Float);
        // Floats of 4 bits are all positive.
        let small_floats = first == Some("f4");
        let weights = WeightScheme { bits, group, offsets: small_floats, float: small_floats };
        let mut scheme = Scheme { weights, activations, outliers: false, smooth: false, rotate: false, stored };
        for part in parts {
            match part {
                "static" | "blocks" | "smooth" | "rotate" | "outliers" if float => {
                    return Err(fail("inputs stay floats, so nothing is done to them"));
                }
                "static" | "blocks" | "outliers" => {}
                "asym" if weights.float => return Err(fail("floats of 4 bits have offsets anyway")),
                _ if stored => return Err(fail("weights stay as they are stored")),
                _ => {}
            }
            match part {
                "row" => scheme.weights.group = None,
                "asym" => scheme.weights.offsets = true,
                "static" | "blocks" if activations == Activations::Sixteen => return Err(fail("16 bits go by token")),
                "static" | "blocks" if scheme.activations != Activations::PerToken => {
                    return Err(fail("inputs have one kind of scale: -static, -blocks, or neither"));
                }
                "static" => scheme.activations = Activations::Static,
                "blocks" => scheme.activations = Activations::PerBlock,
                "smooth" => scheme.smooth = true,
                "rotate" => scheme.rotate = true,
                "outliers" => scheme.outliers = true,
                _ => match part.strip_prefix('g').and_then(|group| group.parse().ok()) {
                    Some(group) if (8..=4096).contains(&group) => scheme.weights.group = Some(group),
                    Some(_) => return Err(fail("groups have 8 to 4096 weights")),
                    None => return Err(fail(&format!("no part is called {part:?}"))),
                },
            }
        }
        if scheme.rotate && scheme.activations == Activations::Static {
            return Err(fail("what a rotation makes of ranges is not known: -static and -rotate do not go together"));
        }
        Ok(scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WeightScheme { bits, group, offsets, float } = self.weights;
        match (self.stored, self.activations) {
            (true, _) => f.write_str("stored")?,
            (false, Activations::Float) if float => f.write_str("f4")?,
            (false, Activations::Float) => write!(f, "w{bits}")?,
            (false, Activations::PerToken | Activations::PerBlock | Activations::Static) => write!(f, "w{bits}a8")?,
            (false, Activations::Sixteen) => write!(f, "w{bits}a16")?,
        }
        match (bits, group) {
            (8, None) | (4, Some(32)) => {}
            (_, None) => f.write_str("-row")?,
            (_, Some(group)) => write!(f, "-g{group}")?,
        }
        for (there, name) in [
            (offsets && !float, "-asym"),
            (self.activations == Activations::Static, "-static"),
            (self.activations == Activations::PerBlock, "-blocks"),
            (self.smooth, "-smooth"),
            (self.rotate, "-rotate"),
            (self.outliers, "-outliers"),
        ] {
            f.write_str(if there { name } else { "" })?;
        }
        Ok(())
    }
}
