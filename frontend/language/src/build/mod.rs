//! From a checkpoint to a module: one builder for all families.

mod attention;
mod block;
mod decoder;
mod encoder;
mod network;

use crate::config::Config;
use crate::families::UNREAD;
use crate::{Checkpoint, Kind, Options};
use drupe_ir::{Diagnostic, Module};
use network::Network;

/// The module of `checkpoint`; the crate's page has its form.
pub fn import(checkpoint: &Checkpoint, options: &Options) -> Result<Module, Diagnostic> {
    let config = Config::read(checkpoint.family, checkpoint.config, &checkpoint.file, options)?;
    let mut network = Network::new(checkpoint, &config, options.stored);
    match checkpoint.family.kind {
        Kind::Decoder => decoder::build(&mut network)?,
        Kind::Encoder => encoder::build(&mut network)?,
    }
    expect_all_read(&network)?;
    let module = network.module;
    module.verify()?;
    Ok(module)
}

/// A tensor without a place in the network means that the model is not what its family's description says.
fn expect_all_read(network: &Network) -> Result<(), Diagnostic> {
    let family = network.checkpoint.family.name;
    let needless = |name: &str| {
        let rows = UNREAD.iter().filter(|(of, _)| of.is_empty() || *of == family);
        let tied = network.config.tied && network.tensor_name(crate::Part::Head, 0, "weight").is_ok_and(|n| n == name);
        tied || rows.flat_map(|(_, ends)| *ends).any(|end| name.ends_with(end))
    };
    let names = network.checkpoint.weights.names();
    let unread: Vec<&String> = names.iter().filter(|name| !network.has_read(name) && !needless(name)).collect();
    let Some(first) = unread.first() else { return Ok(()) };
    let more = if unread.len() > 1 { format!(" and {} more", unread.len() - 1) } else { String::new() };
    let message = format!("the {family} family has no place for the tensor {first:?}{more}");
    Err(Diagnostic::new("unsupported", message)
        .at(&network.origin_of(first))
        .help("the model is a variant with other layers, or config.json is not that of these weights"))
}
