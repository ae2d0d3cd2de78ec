//! Signs of another writer below the prefix.

/// What suggests that another writer uses the prefix; the greater, the surer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OverlapSign {
    /// Nothing does.
    #[default]
    Nothing,
    /// The state is new and found an empty prefix: another instance may have started at the same time.
    NewState,
    /// Another writer, or an object of one, was noticed.
    Noticed,
}

impl OverlapSign {
    /// The text in the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "false",
            Self::NewState => "new",
            Self::Noticed => "true",
        }
    }

    /// The sign of a text in the state.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let all = [Self::NewState, Self::Noticed];
        all.into_iter().find(|sign| sign.as_str() == text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_in_the_state_names_the_sign() {
        for sign in [OverlapSign::Nothing, OverlapSign::NewState, OverlapSign::Noticed] {
            assert_eq!(OverlapSign::from_text(sign.as_str()), sign);
        }
        assert_eq!(OverlapSign::from_text("of a later version"), OverlapSign::Nothing);
    }
}
