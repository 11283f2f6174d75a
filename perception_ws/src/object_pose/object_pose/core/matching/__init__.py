"""Parts found in depth from their surface alone: oriented points, voting of point pairs, verification."""
