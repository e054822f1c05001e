//! The encoder of each format.

use super::encoder::{Encoder, Purpose};
use super::html::HtmlEncoder;
use super::ndjson::NdjsonEncoder;
use super::pcapng::PcapngEncoder;
use super::text::TextEncoder;
use super::view::ViewEncoder;
use crate::format::Format;
use crate::messages::View;

/// Returns the encoder of an output.
pub(crate) fn encoder(view: View, purpose: Purpose) -> Box<dyn Encoder> {
    match view.format {
        Format::Json => Box::new(NdjsonEncoder::new(view.only)),
        Format::Pcapng => Box::new(PcapngEncoder::new(view.only)),
        Format::Html => Box::new(HtmlEncoder::new(view.only)),
        Format::View => Box::new(ViewEncoder::new(view.only, purpose)),
        _ => Box::new(TextEncoder::new(view, purpose)),
    }
}
