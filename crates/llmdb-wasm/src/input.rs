//! Input: what a function of a guest says it reads and answers. Part of the ABI, version 2.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION (little-endian; NAME_input answers where it lies, a multiple of 4)
//!      0     4  kind: 1 records, 2 columns, 3 pages
//!      4     4  bytes that a map answers for each item, 0 for answers of any length; 0 for filters and reductions
//!      8     4  records: fields, bits 0 key, 1 value, 2 valid times, 3 known times
//!               columns: how many, 1 to 16
//!               pages: bytes of a page, a power of two, 512 to 65,536
//!     12     4  zero, reserved
//!     16   8 n  columns: for each, offset in the row and width, 1 to 4,096
//! ```
//!
//! Invariants
//! 1. A declaration is read once, copied, and checked whole before anything is made of it.

/// Bytes of a declaration before the columns.
pub(crate) const DECLARATION_SIZE: u64 = 16;
/// Bytes of a column's declaration.
pub(crate) const COLUMN_SIZE: u64 = 8;
/// Columns of one function.
pub(crate) const COLUMN_COUNT_MAX: u32 = 16;
/// Bytes of a column, of a map's answer for one item.
pub(crate) const WIDTH_MAX: u32 = 4096;
/// In a batch each column begins at a multiple of this, counted from the first.
pub(crate) const COLUMN_ALIGNMENT: usize = 16;
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// What a function reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Records, of which only these fields are given.
    Records(Fields),
    /// Chosen bytes of rows of one size, gathered by the host: each column dense, one after the other.
    Columns(Vec<Column>),
    /// Whole pages of this many bytes.
    Pages(u32),
}

/// The fields of a record that a function reads; the others have length zero, or are absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fields {
    /// The key.
    pub key: bool,
    /// The value.
    pub value: bool,
    /// The period in which it is true.
    pub valid: bool,
    /// The period in which it was known.
    pub known: bool,
}

/// A run of bytes in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Offset in the row.
    pub offset: u32,
    /// Bytes.
    pub width: u32,
}

/// What a function reads, and how much it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) input: Input,
    /// Bytes of a map's answer for one item; 0: of any length.
    pub(crate) width: u32,
}

impl Default for Declaration {
    /// What holds for functions without `NAME_input`: what version 1 gave, and answers of any length.
    fn default() -> Self {
        let fields = Fields { key: true, value: true, valid: true, known: false };
        Self { input: Input::Records(fields), width: 0 }
    }
}

impl Declaration {
    /// How many columns the first 16 bytes announce, to be read with them; or what is wrong.
    pub(crate) fn column_count(head: &[u8; DECLARATION_SIZE as usize]) -> Result<u32, String> {
        match word(head, 0) {
            2 if !(1..=COLUMN_COUNT_MAX).contains(&word(head, 2)) => {
                Err(format!("it declares {} columns, not 1 to {COLUMN_COUNT_MAX}", word(head, 2)))
            }
            2 => Ok(word(head, 2)),
            _ => Ok(0),
        }
    }

    /// From the first 16 bytes and those of the columns.
    pub(crate) fn parse(head: &[u8; DECLARATION_SIZE as usize], columns: &[u8]) -> Result<Self, String> {
        let [kind, width, what, zero] = [0, 1, 2, 3].map(|index| word(head, index));
        if zero != 0 {
            return Err(format!("its declaration has {zero} where zero is reserved"));
        }
        if width > WIDTH_MAX {
            return Err(format!("it declares answers of {width} bytes, at most {WIDTH_MAX} are allowed"));
        }
        let input = match kind {
            1 => Input::Records(fields(what)?),
            2 => Input::Columns(columns.as_chunks().0.iter().map(column).collect::<Result<_, _>>()?),
            3 if PAGE_SIZES.contains(&what) && what.is_power_of_two() => Input::Pages(what),
            3 => {
                return Err(format!(
                    "it declares pages of {what} bytes, not a power of two from 512 to 65,536"
                ));
            }
            other => return Err(format!("it declares input of kind {other}, not 1 (records), 2 or 3")),
        };
        Ok(Self { input, width })
    }
}

impl Input {
    /// Bytes that a row of columns, or a page, takes in a batch, without padding.
    pub(crate) fn item_size(&self) -> usize {
        match self {
            Self::Records(_) => 0,
            Self::Columns(columns) => columns.iter().map(|column| column.width as usize).sum(),
            Self::Pages(size) => *size as usize,
        }
    }
}

/// Bytes of a batch of `count` rows: each column but the first begins at the next multiple of 16.
pub(crate) fn columns_size(columns: &[Column], count: usize) -> usize {
    columns
        .iter()
        .fold(0usize, |end, column| end.next_multiple_of(COLUMN_ALIGNMENT) + column.width as usize * count)
}

fn fields(bits: u32) -> Result<Fields, String> {
    if bits == 0 || bits > 15 {
        return Err(format!(
            "it declares the fields {bits:#x}, of which only the bits 0 to 3 have a meaning"
        ));
    }
    let has = |bit: u32| bits & (1 << bit) != 0;
    Ok(Fields { key: has(0), value: has(1), valid: has(2), known: has(3) })
}

fn column(bytes: &[u8; COLUMN_SIZE as usize]) -> Result<Column, String> {
    let (offset, width) = (word(bytes, 0), word(bytes, 1));
    if width == 0 || width > WIDTH_MAX {
        return Err(format!("it declares a column of {width} bytes, not 1 to {WIDTH_MAX}"));
    }
    Ok(Column { offset, width })
}

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.as_chunks().0.get(index).map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn parse(bytes: &[u8]) -> Result<Declaration, String> {
        let head = bytes.first_chunk().expect("16 bytes");
        let columns = Declaration::column_count(head)? as usize * COLUMN_SIZE as usize;
        let columns = bytes.get(16..16 + columns).ok_or("too short")?;
        Declaration::parse(head, columns)
    }

    #[test]
    fn declarations_are_read_as_written() {
        let columns = parse(&bytes(&[2, 8, 2, 0, 5, 8, 100, 4096])).unwrap();
        let expected = vec![Column { offset: 5, width: 8 }, Column { offset: 100, width: 4096 }];
        assert_eq!(columns, Declaration { input: Input::Columns(expected), width: 8 });
        assert_eq!(columns.input.item_size(), 4104);
        let pages = parse(&bytes(&[3, 0, 65_536, 0])).unwrap();
        assert_eq!(pages, Declaration { input: Input::Pages(65_536), width: 0 });
        let Input::Records(fields) = parse(&bytes(&[1, 4096, 9, 0])).unwrap().input else {
            panic!("records")
        };
        assert_eq!((fields.key, fields.value, fields.valid, fields.known), (true, false, false, true));
    }

    #[test]
    fn each_column_begins_at_a_multiple_of_16() {
        let column = |width| Column { offset: 0, width };
        assert_eq!(columns_size(&[column(1)], 5), 5);
        assert_eq!(columns_size(&[column(1), column(8), column(4)], 5), 64 + 20);
        assert_eq!(columns_size(&[column(32), column(32)], 3), 192);
    }

    proptest! {
        #[test]
        fn any_words_are_a_sane_declaration_or_an_error(
            kind in 0u32..5, width: u16, what in prop_oneof![0u32..20, any::<u32>()], zero in 0u32..2,
            rest in prop::collection::vec(prop_oneof![0u32..5000, any::<u32>()], 40),
        ) {
            let words = [&[kind, u32::from(width), what, zero][..], &rest].concat();
            if let Ok(declaration) = parse(&bytes(&words)) {
                prop_assert!(declaration.width <= WIDTH_MAX);
                prop_assert_eq!(zero, 0);
                match declaration.input {
                    Input::Columns(columns) => {
                        prop_assert!((1..=COLUMN_COUNT_MAX as usize).contains(&columns.len()));
                        prop_assert!(columns.iter().all(|column| (1..=WIDTH_MAX).contains(&column.width)));
                    }
                    Input::Pages(size) => prop_assert!(size.is_power_of_two() && PAGE_SIZES.contains(&size)),
                    Input::Records(fields) => {
                        prop_assert!(fields.key || fields.value || fields.valid || fields.known);
                    }
                }
            }
        }
    }
}
