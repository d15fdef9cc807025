// Unity: label of the face in front of the webcam. See docs/guides/unity.md.
// --8<-- [start:script]
using System.IO;
using FerEdge;
using UnityEngine;

public class WebcamExpression : MonoBehaviour
{
    public Rect faceBox = new Rect(200, 80, 240, 240); // of your face detector; pixels from the upper left corner
    public string label = "";

    Recognizer recognizer;
    WebCamTexture webcam;
    Color32[] pixels;
    readonly Face[] faces = new Face[1];

    void Start()
    {
        recognizer = new Recognizer(Path.Combine(Application.streamingAssetsPath, "edge.fer"), threads: 1);
        webcam = new WebCamTexture(640, 480);
        webcam.Play();
    }

    void Update()
    {
        if (!webcam.didUpdateThisFrame || webcam.width < 100) return; // the size is known after the first frames
        if (pixels == null || pixels.Length != webcam.width * webcam.height)
            pixels = new Color32[webcam.width * webcam.height];
        webcam.GetPixels32(pixels);
        faces[0] = Face.Box(faceBox.x, faceBox.y, faceBox.width, faceBox.height);
        var expression = recognizer.Recognize(pixels, webcam.width, webcam.height, PixelFormat.RGBA, faces,
            bottomUp: true)[0];
        label = expression.Certain ? expression.Label : "unsure";
    }

    void OnDestroy()
    {
        webcam.Stop();
        recognizer.Dispose();
    }
}
// --8<-- [end:script]
