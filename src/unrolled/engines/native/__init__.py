"""The native engine: products and recurrence in C++, cells printed as C++ from their own lines."""
