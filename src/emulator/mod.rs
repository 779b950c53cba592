//! An embedded metadata server: the store (pure), HTTP, and the hanging GET.
