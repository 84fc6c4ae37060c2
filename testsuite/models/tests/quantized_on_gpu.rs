//! Quantised products on a GPU, or on software that acts as one: all that it can do runs there. The interpreter is the
//! judge.

mod layers;

use drupe_models::Engine;

/// The GPU; none where `DRUPE_NO_GPU` says that there is none.
fn engines() -> Vec<(&'static str, Engine)> {
    match std::env::var_os("DRUPE_NO_GPU") {
        Some(_) => Vec::new(),
        None => vec![("gpu", Engine::find("gpu", None, None).unwrap_or_else(|error| panic!("{error}")))],
    }
}

#[test]
fn products_of_the_filetests() {
    layers::products_of_the_filetests(&engines());
}

#[test]
fn layers_of_every_scheme() {
    layers::layers_of_every_scheme(&engines());
}
