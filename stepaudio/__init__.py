"""Edit recorded speech with an implementation of Step-Audio-EditX (arXiv 2511.03601)."""
