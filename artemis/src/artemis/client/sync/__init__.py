"""The SDK for code that blocks: the words of the async client, carried out by it in a thread of its own."""
