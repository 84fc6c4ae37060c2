//! Attribute values: how they print, and how they convert.

use super::OpError;
use crate::{DType, Dim, Float};
use std::fmt;
use std::sync::Arc;

/// An attribute as the textual IR writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttrValue {
    /// `3`, `-1`, and dimensions such as `2*H + 1`.
    Dim(Dim),
    /// `0.5`, always with a point or exponent (or `inf`, `-inf`, `NaN`).
    Float(Float),
    /// A bare word: `true`, `f32`, `channels_last`.
    Word(String),
    /// `"text"`.
    Text(Arc<str>),
    /// `@name` of a constant.
    Symbol(Arc<str>),
    /// `[a, b, c]`.
    List(Vec<AttrValue>),
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::Dim(value) => write!(f, "{value}"),
            AttrValue::Float(value) => write!(f, "{value}"),
            AttrValue::Word(word) => f.write_str(word),
            AttrValue::Text(text) => write!(f, "{text:?}"),
            AttrValue::Symbol(name) => write!(f, "@{name}"),
            AttrValue::List(values) => {
                f.write_str("[")?;
                for (position, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if position > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A Rust type that an attribute can have.
pub trait Attr: Sized {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// As the textual IR writes it.
    fn to_value(&self) -> AttrValue;
    /// From what the textual IR has.
    fn from_value(value: &AttrValue) -> Option<Self>;

    /// The same with every dimension in it replaced by what `map` makes of it. A number is no dimension.
    fn map_dims(&self, _map: &dyn Fn(&Dim) -> Dim) -> Self
    where
        Self: Clone,
    {
        self.clone()
    }

    /// [`Attr::from_value`] with an error that names the attribute.
    fn read(name: &str, value: &AttrValue) -> Result<Self, OpError> {
        Self::from_value(value)
            .ok_or_else(|| super::attribute(name, format!("`{value}` given, {} expected", Self::WHAT)))
    }
}

impl Attr for i64 {
    const WHAT: &'static str = "an integer";
    fn to_value(&self) -> AttrValue {
        AttrValue::Dim(Dim::Const(*self))
    }
    fn from_value(value: &AttrValue) -> Option<i64> {
        match value {
            AttrValue::Dim(dim) => dim.as_const(),
            _ => None,
        }
    }
}

impl Attr for Dim {
    const WHAT: &'static str = "a dimension";
    fn to_value(&self) -> AttrValue {
        AttrValue::Dim(self.clone())
    }
    fn from_value(value: &AttrValue) -> Option<Dim> {
        match value {
            AttrValue::Dim(dim) => Some(dim.clone()),
            // A symbol alone reads as a bare word.
            AttrValue::Word(word) => Some(Dim::symbol(word)),
            _ => None,
        }
    }
    fn map_dims(&self, map: &dyn Fn(&Dim) -> Dim) -> Dim {
        map(self)
    }
}

impl Attr for Float {
    const WHAT: &'static str = "a float";
    fn to_value(&self) -> AttrValue {
        AttrValue::Float(*self)
    }
    fn from_value(value: &AttrValue) -> Option<Float> {
        match value {
            AttrValue::Float(value) => Some(*value),
            AttrValue::Dim(Dim::Const(value)) => Some((*value as f64).into()),
            _ => None,
        }
    }
}

impl Attr for bool {
    const WHAT: &'static str = "true or false";
    fn to_value(&self) -> AttrValue {
        AttrValue::Word(self.to_string())
    }
    fn from_value(value: &AttrValue) -> Option<bool> {
        match value {
            AttrValue::Word(word) => word.parse().ok(),
            _ => None,
        }
    }
}

impl Attr for DType {
    const WHAT: &'static str = "an element type";
    fn to_value(&self) -> AttrValue {
        AttrValue::Word(self.name().into())
    }
    fn from_value(value: &AttrValue) -> Option<DType> {
        match value {
            AttrValue::Word(word) => DType::from_name(word),
            _ => None,
        }
    }
}

impl Attr for Arc<str> {
    const WHAT: &'static str = "a quoted name or @constant";
    fn to_value(&self) -> AttrValue {
        AttrValue::Text(self.clone())
    }
    fn from_value(value: &AttrValue) -> Option<Arc<str>> {
        match value {
            AttrValue::Text(text) | AttrValue::Symbol(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl<T: Attr + Clone> Attr for Vec<T> {
    const WHAT: &'static str = "a list";
    fn to_value(&self) -> AttrValue {
        AttrValue::List(self.iter().map(T::to_value).collect())
    }
    fn from_value(value: &AttrValue) -> Option<Vec<T>> {
        match value {
            AttrValue::List(values) => values.iter().map(T::from_value).collect(),
            _ => None,
        }
    }
    fn map_dims(&self, map: &dyn Fn(&Dim) -> Dim) -> Vec<T> {
        self.iter().map(|value| value.map_dims(map)).collect()
    }
}

/// An enum whose variants are bare words in the textual IR; see [`crate::ops::Layout`].
pub trait Keyword: Copy + PartialEq + 'static {
    /// Every variant and its word.
    const WORDS: &'static [(Self, &'static str)];
}

/// Implements [`Keyword`] and [`Attr`] for an enum.
macro_rules! keyword {
    ($(#[$meta:meta])* $type:ident $what:literal { $($(#[$doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $variant,)* }
        impl crate::ops::Keyword for $type {
            const WORDS: &'static [(Self, &'static str)] = &[$(($type::$variant, $word),)*];
        }
        impl crate::ops::Attr for $type {
            const WHAT: &'static str = $what;
            fn to_value(&self) -> crate::ops::AttrValue {
                let words = <$type as crate::ops::Keyword>::WORDS;
                let (_, word) = words.iter().find(|(variant, _)| variant == self).expect("every variant has a word");
                crate::ops::AttrValue::Word((*word).into())
            }
            fn from_value(value: &crate::ops::AttrValue) -> Option<$type> {
                let crate::ops::AttrValue::Word(given) = value else { return None };
                let words = <$type as crate::ops::Keyword>::WORDS;
                words.iter().find(|(_, word)| word == given).map(|(variant, _)| *variant)
            }
        }
    };
}
pub(crate) use keyword;
