"""videolisa-nano and lisa-nano: VideoLISA's own classes at a size that a CPU trains from scratch in a few hours.

The released model starts from a pre-trained CLIP and SAM; these start from ReasonShapes' train scenes, whose scene
graphs supervise every pixel. ``scenes`` holds them in memory, ``models`` has the sizes, ``vision`` trains the two image
branches, ``language`` the rest. ``rvos train --preset nano`` runs all of it.
"""
