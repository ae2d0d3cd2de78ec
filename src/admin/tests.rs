//! What the addresses answer, over real connections.
