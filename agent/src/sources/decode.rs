//! From the bytes of a value to text.

use encoding_rs::GB18030;

use crate::config::TextEncoding;

/// The value as text, decoded into `buffer` where it must be; `None` if it is not valid in the
/// encoding.
pub(super) fn text<'a>(
    bytes: &'a [u8],
    encoding: TextEncoding,
    buffer: &'a mut String,
) -> Option<&'a str> {
    match encoding {
        TextEncoding::Utf8 => str::from_utf8(bytes).ok(),
        // ASCII is the same in both.
        TextEncoding::Gb18030 if bytes.is_ascii() => str::from_utf8(bytes).ok(),
        TextEncoding::Gb18030 => {
            buffer.clear();
            let mut decoder = GB18030.new_decoder_without_bom_handling();
            buffer.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
            let (result, _) = decoder.decode_to_string_without_replacement(bytes, buffer, true);
            (result == encoding_rs::DecoderResult::InputEmpty).then_some(buffer.as_str())
        }
    }
}

/// The bytes as text for a person, wrong characters replaced.
pub(super) fn readable(bytes: &[u8], encoding: TextEncoding) -> Vec<u8> {
    match encoding {
        TextEncoding::Utf8 => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
        TextEncoding::Gb18030 => {
            GB18030.decode_without_bom_handling(bytes).0.into_owned().into_bytes()
        }
    }
}
