//! Dimensions, attribute values and types.

use super::scan::{Scanner, is_name};
use crate::{AttrValue, DType, Diagnostic, Dim, Float, Scale, Type};
use std::sync::Arc;

/// The most terms of a product of sums.
const MOST_TERMS: usize = 1 << 12;

/// A dimension: sums, products, `/` and `%` (of the floor), `max(a, b)`, `min(a, b)`.
pub fn dim(scan: &mut Scanner) -> Result<Dim, Diagnostic> {
    let negative = scan.eat("-");
    let mut sum = product(scan, negative)?;
    loop {
        let negative = match () {
            () if scan.eat("+") => false,
            () if scan.eat("-") => true,
            () => return Ok(sum),
        };
        sum = &sum + &product(scan, negative)?;
    }
}

fn product(scan: &mut Scanner, negative: bool) -> Result<Dim, Diagnostic> {
    let start = scan.position();
    let mut value = factor(scan, negative)?;
    loop {
        if scan.eat("*") {
            let other = factor(scan, false)?;
            if value.terms().len() * other.terms().len() > MOST_TERMS {
                return Err(scan.error_at(start, "a product of too many terms"));
            }
            value = &value * &other;
        } else if scan.eat("/") {
            value = value.floor_div(&factor(scan, false)?);
        } else if scan.rest().starts_with("% ") && scan.eat("%") {
            // With a name right behind it, `%` begins the next statement.
            value = value.modulo(&factor(scan, false)?);
        } else {
            return Ok(value);
        }
    }
}

fn factor(scan: &mut Scanner, negative: bool) -> Result<Dim, Diagnostic> {
    let start = scan.position();
    if let Some(number) = scan.number() {
        // With its sign, so that the least i64 can be written.
        let value = number.parse::<i128>().map(|value| if negative { -value } else { value });
        return match value.map(i64::try_from) {
            Ok(Ok(value)) => Ok(Dim::from(value)),
            _ => Err(scan.error_at(start, format!("`{number}` is not a 64-bit integer"))),
        };
    }
    let value = if scan.eat("(") {
        let value = scan.nested(dim)?;
        scan.expect(")")?;
        value
    } else if let Some(name) = scan.identifier() {
        match name {
            "max" | "min" if scan.eat("(") => {
                let a = scan.nested(dim)?;
                scan.expect(",")?;
                let b = scan.nested(dim)?;
                scan.expect(")")?;
                if name == "max" { a.larger(&b) } else { a.smaller(&b) }
            }
            name => Dim::symbol(name),
        }
    } else {
        return Err(scan.expected("a dimension"));
    };
    Ok(if negative { &Dim::from(-1) * &value } else { value })
}

/// An attribute's value. A symbol alone is a word; its attribute knows what it means.
pub fn attr_value(scan: &mut Scanner) -> Result<AttrValue, Diagnostic> {
    let rest = scan.rest();
    if scan.eat("[") {
        return Ok(AttrValue::List(list(scan, "]", |scan| scan.nested(attr_value))?));
    }
    if rest.starts_with('"') {
        return Ok(AttrValue::Text(scan.quoted()?.into()));
    }
    if scan.eat("@") {
        return Ok(AttrValue::Symbol(scan.name("a constant's name")?.into()));
    }
    if let Some(value) = float(scan) {
        return Ok(AttrValue::Float(value));
    }
    let value = dim(scan)?;
    Ok(match value.as_symbol() {
        Some(name) => AttrValue::Word(name.to_string()),
        None => AttrValue::Dim(value),
    })
}

/// A float with a point, an exponent, or by name; nothing is taken if none is next.
pub fn float(scan: &mut Scanner) -> Option<Float> {
    let rest = scan.rest();
    let (sign, digits) = match rest.strip_prefix('-') {
        Some(digits) => (-1.0, digits.trim_start()),
        None => (1.0, rest),
    };
    let magnitude = match digits {
        _ if starts_with_word(digits, "inf") => f64::INFINITY,
        _ if starts_with_word(digits, "NaN") => f64::NAN,
        _ => {
            let number = Scanner::new(digits, "").number()?;
            if !number.contains(['.', 'e', 'E']) {
                return None;
            }
            number.parse().ok()?
        }
    };
    scan.eat("-");
    if magnitude.is_finite() || scan.rest().starts_with(|c: char| c.is_ascii_digit()) {
        scan.number();
    } else {
        scan.identifier();
    }
    Some((sign * magnitude).into())
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

/// Items between commas, up to `close`, which is taken.
pub fn list<T>(
    scan: &mut Scanner,
    close: &str,
    mut item: impl FnMut(&mut Scanner) -> Result<T, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let mut items = Vec::new();
    if scan.eat(close) {
        return Ok(items);
    }
    loop {
        items.push(item(scan)?);
        if scan.eat(close) {
            return Ok(items);
        }
        if !scan.eat(",") {
            return Err(scan.expected(&format!("`,` or `{close}`")));
        }
    }
}

/// `f32[B, 4]`, `qi8<0.02:-3>[4]`, `qi8<axis 0, @scale>[4]`, `qi4<axis 0 by 32, @scale>[64]`.
pub fn ty(scan: &mut Scanner) -> Result<Type, Diagnostic> {
    let start = scan.position();
    let Some(word) = scan.identifier() else { return Err(scan.expected("a type")) };
    let quantised = word.strip_prefix('q').and_then(DType::from_name);
    let Some(dtype) = DType::from_name(word).or(quantised) else {
        return Err(scan.error_at(start, format!("there is no element type `{word}`")));
    };
    let scale = if quantised.is_some() { Some(Box::new(scale(scan)?)) } else { None };
    scan.expect("[")?;
    let shape = list(scan, "]", dim)?;
    Ok(Type { dtype, scale, shape })
}

fn scale(scan: &mut Scanner) -> Result<Scale, Diagnostic> {
    scan.expect("<")?;
    let scale = if scan.eat("axis") {
        let axis = unsigned(scan)?;
        let group = if scan.eat("by") { Some(unsigned(scan)?) } else { None };
        scan.expect(",")?;
        scan.expect("@")?;
        let scales: Arc<str> = scan.name("a constant's name")?.into();
        match group {
            Some(group) => Scale::PerGroup { axis, group, scales },
            None => Scale::PerAxis { axis, scales },
        }
    } else {
        let Some(scale) = float(scan) else { return Err(scan.expected("a scale such as `0.5`, or `axis`")) };
        scan.expect(":")?;
        let at = scan.position();
        let Some(zero_point) = dim(scan)?.as_const() else {
            return Err(scan.error_at(at, "the zero point must be a number"));
        };
        Scale::PerTensor { scale, zero_point }
    };
    scan.expect(">")?;
    Ok(scale)
}

/// A number without sign, point or exponent.
pub fn unsigned<T: std::str::FromStr>(scan: &mut Scanner) -> Result<T, Diagnostic> {
    let start = scan.position();
    let Some(digits) = scan.word(|c| c.is_ascii_digit()) else { return Err(scan.expected("a number")) };
    digits.parse().map_err(|_| scan.error_at(start, format!("`{digits}` is too large")))
}

/// The name of a pass.
pub fn pass(scan: &mut Scanner) -> Result<&'static str, Diagnostic> {
    match scan.word(is_name) {
        Some(name) => Ok(super::interned(name)),
        None => Err(scan.expected("the name of a pass")),
    }
}
