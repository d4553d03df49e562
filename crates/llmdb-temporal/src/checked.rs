//! Times and periods from numbers that may be out of range or out of order.

use crate::error::Error;
use crate::types::{CommitTime, Period, ValidTime, Window};

impl ValidTime {
    /// A finite instant.
    ///
    /// # Errors
    /// [`Error::TimeReserved`] for `i64::MIN` and `i64::MAX`, which stand for the open ends.
    pub const fn from_micros(micros: i64) -> Result<Self, Error> {
        match micros {
            i64::MIN | i64::MAX => Err(Error::TimeReserved { micros }),
            finite => Ok(Self::from_raw(finite)),
        }
    }
}

impl CommitTime {
    /// A commit time from microseconds since 1970.
    ///
    /// # Errors
    /// [`Error::TimeReserved`] for `i64::MIN`, and for `i64::MAX`, after which no commit could follow.
    pub const fn from_micros(micros: i64) -> Result<Self, Error> {
        match micros {
            i64::MIN | i64::MAX => Err(Error::TimeReserved { micros }),
            finite => Ok(Self::from_raw(finite)),
        }
    }
}

impl Period {
    /// The period `[from, to)`. Where both are equal it is empty: an operation on it has no effect.
    ///
    /// # Errors
    /// [`Error::PeriodReversed`] where `from` is after `to`.
    pub fn new(from: ValidTime, to: ValidTime) -> Result<Self, Error> {
        if from > to {
            return Err(Error::PeriodReversed { from, to, key: None, collection: None });
        }
        Ok(Self { from, to })
    }

    /// Refuses one whose bounds, which everybody can set, are in the wrong order.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        Self::new(self.from, self.to)
    }
}

impl Window {
    /// The half-open period whose instants count. The end of [`Window::Between`] is in it: one microsecond more.
    ///
    /// # Errors
    /// [`Error::PeriodReversed`].
    pub fn period(self) -> Result<Period, Error> {
        match self {
            Self::All => Ok(Period::ALL),
            Self::FromTo(period) | Self::ContainedIn(period) => period.checked(),
            Self::Between(Period { from, to }) => {
                Period::new(from, to)?;
                // Behind the last finite instant, and behind the open end, only the open end is left.
                Period::new(from, ValidTime::from_raw(to.micros().saturating_add(1)))
            }
        }
    }
}
