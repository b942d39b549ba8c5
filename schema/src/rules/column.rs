//! Checking the values of one column of a block: what can be asked of all bytes at once is asked
//! once, and each value then costs a look at where it ends.

use super::{RejectReason, check_optional, is_free_text};
use crate::block::Block;
use crate::catalogue::Item;

/// The values of one item in a block.
#[derive(Clone, Copy, Debug)]
pub struct ColumnCheck<'a> {
    item: &'a Item,
    block: &'a Block<'a>,
    column: usize,
    /// The values one behind the other, if all of it is text without control characters.
    plain: Option<&'a str>,
}

impl<'a> ColumnCheck<'a> {
    /// Looks at the column as a whole.
    #[must_use]
    pub fn new(item: &'a Item, block: &'a Block<'a>, column: usize) -> Self {
        let plain = if is_free_text(item) && !item.key {
            let area = block.area(column);
            let lowest = area.iter().fold(u8::MAX, |lowest, byte| lowest.min(*byte));
            simdutf8::basic::from_utf8(area).ok().filter(|_| lowest >= 0x20)
        } else {
            None
        };
        Self { item, block, column, plain }
    }

    /// The verdict on the value in a row: what [`check_optional`] says.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn value(&self, index: usize) -> Result<(), RejectReason> {
        // Text as a whole may still be cut within a character.
        if let Some(plain) = self.plain
            && let Some(place) = self.block.place(self.column, index)
            && !place.is_empty()
            && let Some(text) = plain.get(place)
        {
            let limit = self.item.length as usize;
            return match limit != 0 && text.len() > limit && text.chars().count() > limit {
                true => Err(RejectReason::Length),
                false => Ok(()),
            };
        }
        check_optional(self.item, self.block.value(self.column, index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        block::BlockBuilder,
        catalogue::{DataType, Semantic},
        row::FieldId,
    };

    fn item(data_type: DataType, semantic: Option<Semantic>, length: u32, required: bool) -> Item {
        Item {
            id: FieldId(2),
            name: "f".into(),
            label: "示例".into(),
            data_type,
            length,
            required,
            key: false,
            semantic,
            sensitivity: 0,
        }
    }

    fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = "[a示例0-9]{0,8}".prop_map(String::into_bytes);
        let cut =
            ("[示例]{1,4}", 1usize..3).prop_map(|(text, cut)| text.as_bytes()[cut..].to_vec());
        let bytes = prop::collection::vec(any::<u8>(), 0..5);
        prop::option::weighted(0.9, prop_oneof![12 => text, 1 => cut, 1 => bytes])
    }

    proptest! {
        #[test]
        fn a_column_is_judged_as_its_values_are(
            values in prop::collection::vec(value(), 1..30),
            length in prop::sample::select(vec![0u32, 3, 6]),
            required: bool,
            kind in 0usize..4,
        ) {
            let item = match kind {
                0 => item(DataType::Text, None, length, required),
                1 => item(DataType::Memo, Some(Semantic::Address), length, required),
                2 => item(DataType::Text, Some(Semantic::CitizenId), length, required),
                _ => item(DataType::Integer, None, length, required),
            };
            let mut builder = BlockBuilder::new(&[FieldId(2)]);
            for (number, value) in values.iter().enumerate() {
                builder.upsert(format!("k{number}").as_bytes(), [value.as_deref()]);
            }
            let bytes = builder.finish();
            let block = Block::parse(&bytes).unwrap();
            let column = ColumnCheck::new(&item, &block, 0);
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(column.value(index), check_optional(&item, value.as_deref()));
            }
        }

        /// What one value lacks the next may have: together they are text, alone they are not.
        #[test]
        fn a_character_cut_in_two_is_found(at in 1usize..3) {
            let item = item(DataType::Text, None, 0, false);
            let whole = "示".as_bytes();
            let mut builder = BlockBuilder::new(&[FieldId(2)]);
            builder.upsert(b"1", [Some(&whole[..at])]);
            builder.upsert(b"2", [Some(&whole[at..])]);
            let bytes = builder.finish();
            let block = Block::parse(&bytes).unwrap();
            let column = ColumnCheck::new(&item, &block, 0);
            prop_assert_eq!(column.value(0), Err(RejectReason::Encoding));
            prop_assert_eq!(column.value(1), Err(RejectReason::Encoding));
        }
    }
}
