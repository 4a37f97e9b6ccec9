"""Pictures that a person could have drawn: shapes, digits and icons by several renderers, and questions about them."""
