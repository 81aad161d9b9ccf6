// tests/support/precompiled.cpp: the program that the precompiled header of all tests hangs on; it does nothing.
int main() {}
